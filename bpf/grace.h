/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Ask if this host itself has the connection of a TCP packet, because it is a real server too. Its stack then answers
 * the packet as the client expects, while a packet of any other connection would be answered by a reset.
 */
#ifndef POINTSMAN_GRACE_H
#define POINTSMAN_GRACE_H

#include "parse6.h"

#define LISTENING 10 /* TCP_LISTEN: the socket knows nothing of the connection */

static __always_inline __u32 read_tuple4(struct iphdr *ip, void *end, struct bpf_sock_tuple *tuple)
{
	struct udphdr *ports = (void *)(ip + 1); /* a TCP header begins with the same ports */

	if ((void *)(&ports->dest + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
		return 0;
	tuple->ipv4.saddr = ip->saddr;
	tuple->ipv4.daddr = ip->daddr;
	tuple->ipv4.sport = ports->source;
	tuple->ipv4.dport = ports->dest;
	return sizeof(tuple->ipv4);
}

static __always_inline __u32 read_tuple6(struct ipv6hdr *ip, void *end, struct bpf_sock_tuple *tuple)
{
	struct udphdr *ports = (void *)(ip + 1); /* a TCP header begins with the same ports */

	if ((void *)(&ports->dest + 1) > end || ip->nexthdr != IPPROTO_TCP)
		return 0;
	__builtin_memcpy(tuple->ipv6.saddr, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(tuple->ipv6.daddr, &ip->daddr, sizeof(ip->daddr));
	tuple->ipv6.sport = ports->source;
	tuple->ipv6.dport = ports->dest;
	return sizeof(tuple->ipv6);
}

/* Read the addresses and ports of a frame without IP options. Returns the length of the tuple, or 0. */
static __always_inline __u32 read_tuple(void *data, void *end, struct bpf_sock_tuple *tuple)
{
	struct ethhdr *ethernet = data;

	if ((void *)(ethernet + 1) + sizeof(struct iphdr) > end)
		return 0;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return read_tuple4((void *)(ethernet + 1), end, tuple);
	if ((void *)(ethernet + 1) + sizeof(struct ipv6hdr) > end)
		return 0;
	return read_tuple6((void *)(ethernet + 1), end, tuple);
}

/* True for a socket that bpf_skc_lookup_tcp() has found, if it has the connection. */
static __always_inline int has_connection(struct bpf_sock *socket)
{
	int has = socket && socket->state != LISTENING;

	if (socket)
		bpf_sk_release(socket);
	return has;
}

/* Count a packet with the action GRACE. Returns 1 if it is to be passed to this host's stack. */
static __always_inline int is_local(void *context, void *data, void *end)
{
	struct bpf_sock_tuple tuple = {};
	__u32 length = read_tuple(data, end, &tuple);
	int found = 0;

	if (length == sizeof(tuple.ipv4))
		found = has_connection(bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0));
	else if (length)
		found = has_connection(bpf_skc_lookup_tcp(context, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0));
	count_exit(found ? EXIT_NO_CONNECTION : EXIT_GRACE);
	return found;
}

__noinline int is_local_xdp(struct xdp_md *context)
{
	return is_local(context, (void *)(long)context->data, (void *)(long)context->data_end);
}

__noinline int is_local_tc(struct __sk_buff *context)
{
	return is_local(context, (void *)(long)context->data, (void *)(long)context->data_end);
}

#endif
