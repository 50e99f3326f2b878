/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * ICMP replies from the virtual address, as the kernel sends them for IPVS (net/ipv4/icmp.c): port unreachable, time
 * exceeded, fragmentation needed. The packet itself becomes the reply: it is cut to the quoted bytes, gets new headers
 * in front, and is sent back to the sender of its frame.
 */
#ifndef POINTSMAN_ICMP_REPLY_H
#define POINTSMAN_ICMP_REPLY_H

#include "icmp.h"

#include "parse.h"

#define REPLY_HEADERS (sizeof(struct iphdr) + sizeof(struct icmp))
#define MOST_QUOTED (576 - REPLY_HEADERS) /* bytes: a reply has at most 576 (RFC 1812, 4.3.2.3) */
#define REPLY_TTL 64
#define INTERNETWORK_CONTROL 0xc0 /* precedence; the bits below are the type of service of the packet */
#define TYPE_OF_SERVICE 0x1e

/* Type, code and MTU of a reply in one number. */
#define REPLY(type, code, mtu) ((type) << 24 | (code) << 16 | (mtu))

static __always_inline __u32 reply_to(enum exit_reason reason, __u32 mtu)
{
	switch (reason) {
	case EXIT_TTL_EXCEEDED:
		return REPLY(ICMP_TIME_EXCEEDED, ICMP_IN_TRANSIT, 0);
	case EXIT_TOO_BIG:
		return REPLY(ICMP_UNREACHABLE, ICMP_TOO_BIG, mtu);
	default:
		return REPLY(ICMP_UNREACHABLE, ICMP_PORT_UNREACHABLE, 0);
	}
}

static __always_inline int is_limited(__u32 reply)
{
	return reply >> 16 != REPLY(ICMP_UNREACHABLE, ICMP_TOO_BIG, 0) >> 16;
}

/*
 * The kernel's limits: to one client a burst of six, then one a second (icmp_ratelimit); to all clients a burst of
 * fifty, then a thousand a second (icmp_msgs_per_sec, icmp_msgs_burst). A quota is the time at which it is full
 * again. CPUs that take from one quota at once may get a few more.
 */
#define CLIENT_BURST 6	      /* seconds, one reply each */
#define ALL_BURST 50000000ULL /* nanoseconds */
#define ALL_INTERVAL 1000000ULL
#define QUOTA_OF_ALL 0

static __always_inline int take_quota(__u32 place, __u64 now, __u64 interval, __u64 burst)
{
	__u64 *quota = bpf_map_lookup_elem(&pm_quotas, &place), free_at;

	if (!quota)
		return 0;
	free_at = *(volatile __u64 *)quota;
	if (free_at < now || free_at > now + burst)
		free_at = now;
	if (free_at + interval > now + burst)
		return 0;
	*(volatile __u64 *)quota = free_at + interval;
	return 1;
}

/*
 * True if a reply is within the limits. `client` is a number made of the client's address. Clients whose numbers hash
 * to the same of the 4,095 places share a quota.
 */
static __always_inline int may_reply(__u64 client)
{
	__u32 place = 1 + (client * control.seed >> 32) % (QUOTAS - 1);

	return take_quota(place, control.now, 1, CLIENT_BURST) &&
	       take_quota(QUOTA_OF_ALL, bpf_ktime_get_ns(), ALL_INTERVAL, ALL_BURST);
}

/* True if the source is an address that a host can have. */
static __always_inline int is_repliable(struct iphdr *ip)
{
	__u8 first = ip->saddr & 255;

	return first && first != 127 && first < 224;
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (__u32)sum + (sum >> 32);
	sum = (__u32)sum + (sum >> 32);
	sum = (__u16)sum + (sum >> 16);
	return (__u16)sum + (sum >> 16);
}

#define MOST_SUMMED (MOST_QUOTED + sizeof(struct icmp))

#define LONGEST_MESSAGE 1240 /* of ICMPv6, the longer one: 1280 bytes (RFC 4443, 2.4) less the IP header */

#define MOST_OFFSET 0x3fff /* a bound for the verifier, above the size of jumbo frames */

/* Return the ones' complement sum of `length` bytes from `offset`, at most LONGEST_MESSAGE. */
static __always_inline __u32 sum_bytes(void *data, void *end, __u32 offset, __u32 length)
{
	void *start = data + (offset & MOST_OFFSET);
	__u64 sum = 0;

	for (__u32 i = 0; i < LONGEST_MESSAGE / 4; i++) {
		if (length < 4 || start + 4 > end)
			break;
		sum += *(__u32 *)start;
		start += 4;
		length -= 4;
	}
	if (length & 2 && start + 2 <= end) {
		sum += *(__u16 *)start;
		start += 2;
	}
	if (length & 1 && start + 1 <= end)
		sum += bpf_htons(*(__u8 *)start << 8);
	return fold(sum);
}

__noinline int sum_xdp(struct xdp_md *context, __u32 offset, __u32 length)
{
	return sum_bytes((void *)(long)context->data, (void *)(long)context->data_end, offset, length);
}

__noinline int sum_tc(struct __sk_buff *context, __u32 offset, __u32 length)
{
	return sum_bytes((void *)(long)context->data, (void *)(long)context->data_end, offset, length);
}

/* Address the frame to the sender of `frame`. */
static __always_inline void return_frame(struct ethhdr *ethernet, struct ethhdr *frame, __u16 protocol)
{
	__builtin_memcpy(ethernet->h_dest, frame->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, frame->h_dest, ETH_ALEN);
	ethernet->h_proto = bpf_htons(protocol);
}

static __always_inline void write_message(struct icmp *icmp, __u32 reply)
{
	icmp->type = reply >> 24;
	icmp->code = reply >> 16;
	icmp->unused = 0;
	icmp->mtu = bpf_htons(reply & 0xffff);
	icmp->checksum = 0;
}

/* Write the headers before the quoted packet. `frame` is the header of the frame that is replied to. */
static __always_inline int write_reply(void *data, void *end, struct ethhdr *frame, __u32 reply)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1), *quoted;
	struct icmp *icmp = (void *)(ip + 1);

	quoted = (void *)(icmp + 1);
	if ((void *)(quoted + 1) > end)
		return -1;
	return_frame(ethernet, frame, ETH_P_IP);
	*(__u16 *)ip = bpf_htons(0x4500 | INTERNETWORK_CONTROL | (quoted->tos & TYPE_OF_SERVICE));
	ip->tot_len = bpf_htons(end - (void *)ip);
	ip->id = bpf_get_prandom_u32() & 0xffff;
	ip->frag_off = 0;
	ip->ttl = REPLY_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->saddr = quoted->daddr;
	ip->daddr = quoted->saddr;
	ip->check = 0;
	ip->check = ~fold(sum_header(ip));
	write_message(icmp, reply);
	return 0;
}

#define MESSAGE (sizeof(struct ethhdr) + sizeof(struct iphdr))

static __always_inline void write_sum(void *data, void *end, __u32 sum)
{
	struct icmp *icmp = data + MESSAGE;

	if ((void *)(icmp + 1) <= end)
		icmp->checksum = ~sum;
}

/* Return how many bytes to quote; 0: no reply. Stores the header of the frame in `frame`. */
static __always_inline __u32 quoted_length(void *data, void *end, struct ethhdr *frame, __u32 reply)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	__u32 length;

	if ((void *)(ip + 1) > end)
		return 0;
	*frame = *ethernet;
	if (!is_repliable(ip) || (is_limited(reply) && !may_reply(ip->saddr)))
		return 0;
	length = bpf_ntohs(ip->tot_len);
	return length < MOST_QUOTED ? length : MOST_QUOTED;
}

/* Cut the frame to the quoted bytes and make room before them. Returns 0 on success. */
static __always_inline int cut_and_lengthen_xdp(struct xdp_md *context, int length, __u32 quoted, __u32 headers)
{
	return bpf_xdp_adjust_tail(context, (int)(sizeof(struct ethhdr) + quoted) - length) ||
	       bpf_xdp_adjust_head(context, -(int)headers);
}

/* The same for tc. Cutting also turns a packet of joined segments into a single one. */
static __always_inline int cut_and_lengthen_tc(struct __sk_buff *context, __u32 quoted, __u32 headers)
{
	return bpf_skb_change_tail(context, sizeof(struct ethhdr) + quoted, 0) ||
	       bpf_skb_adjust_room(context, headers, BPF_ADJ_ROOM_MAC, 0) ||
	       bpf_skb_pull_data(context, sizeof(struct ethhdr) + headers + quoted);
}

__noinline int icmp_reply_xdp(struct xdp_md *context, __u32 reply)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr frame;
	__u32 quoted = quoted_length(data, end, &frame, reply);

	if (!quoted || cut_and_lengthen_xdp(context, end - data, quoted, REPLY_HEADERS))
		goto none;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (write_reply(data, end, &frame, reply))
		goto none;
	write_sum(data, end, sum_xdp(context, MESSAGE, quoted + sizeof(struct icmp)));
	return XDP_TX;
none:
	count_exit(EXIT_UNANSWERED);
	return XDP_DROP;
}

__noinline int icmp_reply_tc(struct __sk_buff *context, __u32 reply)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr frame;
	__u32 quoted = quoted_length(data, end, &frame, reply);

	if (!quoted || cut_and_lengthen_tc(context, quoted, REPLY_HEADERS))
		goto none;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (write_reply(data, end, &frame, reply))
		goto none;
	write_sum(data, end, sum_tc(context, MESSAGE, quoted + sizeof(struct icmp)));
	return bpf_redirect(context->ingress_ifindex, 0);
none:
	count_exit(EXIT_UNANSWERED);
	return TC_ACT_SHOT;
}

#endif
