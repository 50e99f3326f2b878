/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The sum of a packet for a tunnel with a checksum. A TCP or UDP segment is not read for it: with its own checksum
 * the segment and its pseudo header sum up to all ones (the kernel's local checksum offload), also when offload still
 * has to fill the checksum in. A segment with a wrong checksum gets a wrong outer one and is dropped by the receiver
 * of the tunnel.
 */
#ifndef POINTSMAN_XMIT_TUNNEL_SUM_H
#define POINTSMAN_XMIT_TUNNEL_SUM_H

#include "icmp_reply.h"
#include "parse6.h"

static __always_inline int has_checksum(__u8 protocol, struct udphdr *udp, void *end)
{
	return protocol == IPPROTO_TCP || (protocol == IPPROTO_UDP && (void *)(udp + 1) <= end && udp->check);
}

/*
 * Return the folded sum; 0, which no IP packet has, when the packet must be read. A valid IPv4 header sums up to all
 * ones.
 */
static __always_inline __u32 known_sum4(struct iphdr *ip, void *end)
{
	__u32 header = ip->ihl * 4, length = bpf_ntohs(ip->tot_len) - header;

	if (ip->frag_off & bpf_htons(FRAGMENT_BITS) || !has_checksum(ip->protocol, (void *)ip + header, end))
		return 0;
	return 0xffff - fold((__u64)ip->saddr + ip->daddr + bpf_htons(ip->protocol) + bpf_htons(length)) ?: 0xffff;
}

static __always_inline __u32 known_sum6(struct ipv6hdr *ip, void *end)
{
	__u32 *words = (void *)ip;
	__u64 addresses = 0;

	if (!has_checksum(ip->nexthdr, (void *)(ip + 1), end))
		return 0;
	for (int i = 2; i < 10; i++)
		addresses += words[i];
	return fold(addresses + words[0] + words[1] + 0xffff -
		    fold(addresses + ip->payload_len + bpf_htons(ip->nexthdr)));
}

static __always_inline __u32 known_sum(void *data, void *end)
{
	struct ethhdr *ethernet = data;
	void *ip = ethernet + 1;

	if (ip + sizeof(struct iphdr) > end)
		return 0;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return known_sum4(ip, end);
	return ip + sizeof(struct ipv6hdr) > end ? 0 : known_sum6(ip, end);
}

#define SUMMED_AT_ONCE LONGEST_MESSAGE
#define MOST_SUMMED_PARTS 8

/* Sum the whole packet, which is linear. Returns 0 when it is too long. */
static __always_inline __u32 read_sum(void *context, int tc, __u32 length)
{
	__u32 offset = sizeof(struct ethhdr);
	__u64 sum = 0;

	for (int i = 0; i < MOST_SUMMED_PARTS && length; i++) {
		__u32 part = length < SUMMED_AT_ONCE ? length : SUMMED_AT_ONCE;

		sum += tc ? sum_tc(context, offset, part) : sum_xdp(context, offset, part);
		offset += part;
		length -= part;
	}
	return length ? 0 : fold(sum);
}

__noinline int sum_packet_xdp(struct xdp_md *context, __u32 length)
{
	return known_sum((void *)(long)context->data, (void *)(long)context->data_end) ?: read_sum(context, 0, length);
}

__noinline int sum_packet_tc(struct __sk_buff *context, __u32 length)
{
	__u32 sum = known_sum((void *)(long)context->data, (void *)(long)context->data_end);

	if (sum)
		return sum;
	return bpf_skb_pull_data(context, sizeof(struct ethhdr) + length) ? 0 : read_sum(context, 1, length);
}

#endif
