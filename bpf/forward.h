/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Direct routing: both MAC addresses, the TTL (hop limit) and IPv4's header checksum change, nothing else. */
#ifndef POINTSMAN_FORWARD_H
#define POINTSMAN_FORWARD_H

#include "parse6.h"

static __always_inline void count_packet(__u32 dest, __u32 length)
{
	struct traffic *counters = bpf_map_lookup_elem(&traffic, &dest);

	if (counters) {
		counters->packets += 1;
		counters->octets += length;
	}
}

/* As ip_decrease_ttl() (include/net/ip.h). */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* Why a packet does not leave for its server. */
static __always_inline enum exit_reason reason_to_stay(__u64 way, __u8 ttl)
{
	if (way & DEST_LOCAL)
		return EXIT_LOCAL;
	return ttl <= 1 ? EXIT_TTL_EXCEEDED : EXIT_NO_NEIGHBOUR;
}

/* The new frame header. Returns EXIT_COUNT when the packet may leave by interface *out. */
static __always_inline enum exit_reason address_frame(struct ethhdr *ethernet, __u32 dest_index, __u32 length,
						      __u8 ttl, __u32 *out)
{
	struct dest *dest = bpf_map_lookup_elem(&dests, &dest_index);
	__u64 way;

	if (!dest)
		return EXIT_NO_DESTINATION;
	way = *(volatile __u64 *)&dest->way;
	if (!(way & DEST_AVAILABLE))
		return EXIT_SERVER_REMOVED;
	count_packet(dest_index, length);
	if (ttl <= 1 || !(way & DEST_RESOLVED))
		return reason_to_stay(way, ttl);
	*(__u64 *)ethernet = *(volatile __u64 *)&dest->frame;
	*(__u32 *)((void *)ethernet + 8) = way;
	*out = DEST_INTERFACE(way);
	return EXIT_COUNT;
}

/* Returns EXIT_COUNT when the frame is ready to leave by interface *out. */
static __always_inline enum exit_reason forward(struct packet *p, __u32 dest, __u32 *out)
{
	enum exit_reason reason = address_frame(p->ethernet, dest, p->length, p->ip->ttl, out);

	if (reason == EXIT_COUNT)
		decrement_ttl(p->ip);
	return reason;
}

static __always_inline enum exit_reason forward6(struct packet6 *p, __u32 dest, __u32 *out)
{
	enum exit_reason reason = address_frame(p->ethernet, dest, p->length, p->ip->hop_limit, out);

	if (reason == EXIT_COUNT)
		p->ip->hop_limit--;
	return reason;
}

#endif
