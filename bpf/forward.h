/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Direct routing: both MAC addresses, the TTL and the header checksum change, nothing else. */
#ifndef POINTSMAN_FORWARD_H
#define POINTSMAN_FORWARD_H

#include "parse.h"

static __always_inline void count_packet(__u32 dest, struct packet *p)
{
	struct traffic *counters = bpf_map_lookup_elem(&traffic, &dest);

	if (counters) {
		counters->packets += 1;
		counters->octets += p->length;
	}
}

/* As ip_decrease_ttl() (include/net/ip.h). */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* Returns EXIT_COUNT when the frame is ready to leave by interface *out. */
static __always_inline enum exit_reason forward(struct packet *p, __u32 dest_index, __u32 *out)
{
	struct dest *dest = bpf_map_lookup_elem(&dests, &dest_index);
	__u64 way;

	if (!dest)
		return EXIT_NO_DESTINATION;
	way = *(volatile __u64 *)&dest->way;
	if (!(way & DEST_AVAILABLE))
		return EXIT_SERVER_REMOVED;
	count_packet(dest_index, p);
	if (p->ip->ttl <= 1)
		return EXIT_TTL_EXCEEDED;
	if (!(way & DEST_RESOLVED))
		return EXIT_NO_NEIGHBOUR;
	*(__u64 *)p->ethernet = *(volatile __u64 *)&dest->frame;
	*(__u32 *)((void *)p->ethernet + 8) = way;
	decrement_ttl(p->ip);
	*out = DEST_INTERFACE(way);
	return EXIT_COUNT;
}

#endif
