/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Firewall marks. Only the tc hook sees them; programs that run before it may set them. A mark has priority over an
 * address, as in IPVS (ip_vs_service_find), unless the address is one of the mark's own.
 *
 * A connection found by its mark has no front that tells its virtual address and protocol. Its entry is in the table
 * of IPv6, which has room for both; see widen_flow6() for IPv6 itself.
 */
#ifndef POINTSMAN_FWMARK_H
#define POINTSMAN_FWMARK_H

#include "flows.h"

static __always_inline struct mark *find_mark(__u32 mark, int ipv6)
{
	__u64 key = mark | (__u64)(ipv6 != 0) << 32;

	return bpf_map_lookup_elem(&pm_marks, &key);
}

static __always_inline void widen_flow(struct flow *flow)
{
	__u32 ports = flow->client_port | (__u32)flow->virtual_port << 16;

	flow->client[0] |= (__u64)flow->hashed_virtual << 32;
	flow->client[1] = flow->protocol;
	flow->hash = hash_key(flow->client[0], (__u64)flow->protocol << 32 | ports);
	flow->key = ports | flow->hash >> 32 << 32 | 1ULL << 63;
	flow->wide = 1;
}

/*
 * IPv6: an entry has no room for the virtual address as well. A tag tells the addresses of a mark apart; it is the
 * same on every director, since records have nothing else of the address. A tag is its own tag.
 */
static __always_inline __u64 tag_of(__u32 folded)
{
	return (folded ^ folded >> TAG_BITS) & ((1U << TAG_BITS) - 1);
}

static __always_inline void widen_flow6(struct flow *flow)
{
	__u64 protocol = flow->protocol == IPPROTO_TCP ? 0 : flow->protocol == IPPROTO_UDP ? 1 : 2;

	flow->key = (__u32)flow->key | (tag_of(flow->hashed_virtual) | protocol << TAG_BITS) << 32 | 1ULL << 63;
	flow->hash = hash_key(flow->client[1] ^ hash_key(flow->client[0], 1), flow->key);
}

/*
 * Find the service of a packet with this mark. flow->service is the service of its address, or 0. Returns as
 * find_service().
 */
__noinline int find_marked_service(struct flow *flow, __u32 number)
{
	struct mark *mark = flow ? find_mark(number, flow->wide) : 0;

	if (!flow || !(mark || flow->service))
		return EXIT_NO_SERVICE;
	if (!mark || mark->service == flow->service)
		return GO_ON;
	flow->service = mark->service;
	flow->front = mark->front;
	if (flow->wide)
		widen_flow6(flow);
	else
		widen_flow(flow);
	return GO_ON;
}

#endif
