/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* ICMPv6 replies (net/ipv6/icmp.c): as in icmp_reply.h. They quote more, and their checksum includes the addresses. */
#ifndef POINTSMAN_ICMP_REPLY6_H
#define POINTSMAN_ICMP_REPLY6_H

#include "icmp_reply.h"
#include "parse6.h"

#define REPLY6_HEADERS (sizeof(struct ipv6hdr) + sizeof(struct icmp))
#define MOST_QUOTED6 (LONGEST_MESSAGE - sizeof(struct icmp))
#define MESSAGE6 (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))

static __always_inline __u32 reply6_to(enum exit_reason reason, __u32 mtu)
{
	switch (reason) {
	case EXIT_TTL_EXCEEDED:
		return REPLY(ICMP6_TIME_EXCEEDED, ICMP_IN_TRANSIT, 0);
	case EXIT_TOO_BIG:
		return REPLY(ICMP6_TOO_BIG, 0, mtu);
	default:
		return REPLY(ICMP6_UNREACHABLE, ICMP6_PORT_UNREACHABLE, 0);
	}
}

static __always_inline int is_limited6(__u32 reply)
{
	return reply >> 24 != ICMP6_TOO_BIG;
}

/* Write the headers before the quoted packet. `frame` is the header of the frame that is replied to. */
static __always_inline int write_reply6(void *data, void *end, struct ethhdr *frame, __u32 reply)
{
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ip = (void *)(ethernet + 1), *quoted;
	struct icmp *icmp = (void *)(ip + 1);

	quoted = (void *)(icmp + 1);
	if ((void *)(quoted + 1) > end)
		return -1;
	return_frame(ethernet, frame, ETH_P_IPV6);
	*(__u32 *)ip = bpf_htonl(6 << 28);
	ip->payload_len = bpf_htons(end - (void *)icmp);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = REPLY_TTL;
	ip->saddr = quoted->daddr;
	ip->daddr = quoted->saddr;
	write_message(icmp, reply);
	return 0;
}

/* Write the checksum. `sum` is the sum of the message; add addresses, length and protocol (RFC 8200, 8.1). */
static __always_inline void write_sum6(void *data, void *end, __u64 sum)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	struct icmp *icmp = data + MESSAGE6;
	__u32 *words = (void *)&ip->saddr;

	if ((void *)(icmp + 1) > end)
		return;
#pragma unroll
	for (int i = 0; i < 8; i++)
		sum += words[i];
	sum += ip->payload_len + bpf_htons(IPPROTO_ICMPV6);
	icmp->checksum = ~fold(sum);
}

/* Return how many bytes to quote; 0: no reply. Stores the header of the frame in `frame`. */
static __always_inline __u32 quoted_length6(void *data, void *end, struct ethhdr *frame, __u32 reply)
{
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ip = (void *)(ethernet + 1);
	__u32 length;

	if ((void *)(ip + 1) > end)
		return 0;
	*frame = *ethernet;
	if (is_limited6(reply) && !may_reply(half_of(&ip->saddr, 0) * 31 + half_of(&ip->saddr, 1)))
		return 0;
	length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	return length < MOST_QUOTED6 ? length : MOST_QUOTED6;
}

__noinline int icmp_reply6_xdp(struct xdp_md *context, __u32 reply)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr frame;
	__u32 quoted = quoted_length6(data, end, &frame, reply);

	if (!quoted || cut_and_lengthen_xdp(context, end - data, quoted, REPLY6_HEADERS))
		goto none;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (write_reply6(data, end, &frame, reply))
		goto none;
	write_sum6(data, end, (__u32)sum_xdp(context, MESSAGE6, quoted + sizeof(struct icmp)));
	return XDP_TX;
none:
	count_exit(EXIT_UNANSWERED);
	return XDP_DROP;
}

__noinline int icmp_reply6_tc(struct __sk_buff *context, __u32 reply)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr frame;
	__u32 quoted = quoted_length6(data, end, &frame, reply);

	if (!quoted || cut_and_lengthen_tc(context, quoted, REPLY6_HEADERS))
		goto none;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (write_reply6(data, end, &frame, reply))
		goto none;
	write_sum6(data, end, (__u32)sum_tc(context, MESSAGE6, quoted + sizeof(struct icmp)));
	return bpf_redirect(context->ingress_ifindex, 0);
none:
	count_exit(EXIT_UNANSWERED);
	return TC_ACT_SHOT;
}

#endif
