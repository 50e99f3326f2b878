/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Direct routing: both MAC addresses, the TTL (hop limit) and IPv4's header checksum change, nothing else. */
#ifndef POINTSMAN_XMIT_DR_H
#define POINTSMAN_XMIT_DR_H

#include "parse6.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)

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

/* Not a way out that is counted: the packet leaves in a tunnel (xmit_tunnel.h). */
#define EXIT_TUNNEL ((enum exit_reason)(EXIT_COUNT + 1))

/* What came in by an interface can leave by it, as far as the interface is concerned. */
static __always_inline __u32 largest_allowed(struct dest *dest, __u64 way, __u32 ingress)
{
	return DEST_INTERFACE(way) == ingress ? dest->route_mtu : dest->mtu;
}

/* Why a packet does not leave after all; EXIT_COUNT: it does. */
static __always_inline enum exit_reason hindrance(struct dest *dest, __u32 dest_index, __u64 way, __u32 largest,
						  __u8 ttl, __u32 ingress, __u32 *out)
{
	__u32 allowed = largest_allowed(dest, way, ingress);

	if (!(way & DEST_AVAILABLE))
		return way & DEST_RESETS ? EXIT_CONNECTION_RESET : EXIT_SERVER_REMOVED;
	if (way & DEST_LOCAL)
		return EXIT_LOCAL;
	if (ttl <= 1)
		return EXIT_TTL_EXCEEDED;
	if (!(way & (DEST_RESOLVED | DEST_TUNNEL)))
		return EXIT_NO_NEIGHBOUR;
	if (largest > allowed) {
		*out = allowed;
		return EXIT_TOO_BIG;
	}
	*out = dest_index;
	return way & DEST_TUNNEL ? EXIT_TUNNEL : EXIT_COUNT;
}

#define DEST_USABLE (DEST_AVAILABLE | DEST_RESOLVED)

/*
 * The new frame header. Returns EXIT_COUNT when the packet may leave by interface *out; with EXIT_TOO_BIG, *out is the
 * MTU, with EXIT_TUNNEL it is the server. `largest` is the packet's length, or that of the segments that offload has made one packet of.
 */
static __always_inline enum exit_reason address_frame(struct ethhdr *ethernet, __u32 dest_index, __u32 length,
						      __u32 largest, __u8 ttl, __u32 ingress, __u32 *out)
{
	struct dest *dest = bpf_map_lookup_elem(&dests, &dest_index);
	enum exit_reason reason = EXIT_COUNT;
	__u64 way;

	if (!dest)
		return EXIT_SERVER_REMOVED;
	way = *(volatile __u64 *)&dest->way;
	if ((way & DEST_USABLE) != DEST_USABLE || ttl <= 1 || largest > dest->mtu) {
		reason = hindrance(dest, dest_index, way, largest, ttl, ingress, out);
		if (reason == EXIT_SERVER_REMOVED || reason == EXIT_CONNECTION_RESET)
			return reason;
	}
	/* As IPVS, before it looks whether the packet can leave. */
	count_packet(dest_index, length);
	if (reason != EXIT_COUNT)
		return reason;
	*(__u64 *)ethernet = *(volatile __u64 *)&dest->frame;
	*(__u32 *)((void *)ethernet + 8) = way;
	*out = DEST_INTERFACE(way);
	return EXIT_COUNT;
}

/* As it will be on the wire. */
static __always_inline __u32 largest_length(struct packet *p)
{
	__u32 joined = joined_of(p);

	return joined ? joined + p->ip->ihl * 4 + p->transport_header : p->length;
}

/* Returns as address_frame(). What is too big has its TTL decremented by then. */
static __always_inline enum exit_reason forward(struct packet *p, __u32 dest, __u32 *out)
{
	enum exit_reason reason =
		address_frame(p->ethernet, dest, p->length, largest_length(p), p->ip->ttl, ingress_of(p), out);

	if (LIKELY(reason == EXIT_COUNT)) {
		decrement_ttl(p->ip);
		return EXIT_COUNT;
	}
	if (reason == EXIT_TOO_BIG)
		decrement_ttl(p->ip);
	return reason;
}

static __always_inline enum exit_reason forward6(struct packet6 *p, __u32 dest, __u32 ingress, __u32 joined,
						 __u32 *out)
{
	__u32 largest = joined ? joined + p->headers : p->length;
	enum exit_reason reason =
		address_frame(p->ethernet, dest, p->length, largest, p->ip->hop_limit, ingress, out);

	if (LIKELY(reason == EXIT_COUNT)) {
		p->ip->hop_limit--;
		return EXIT_COUNT;
	}
	if (reason == EXIT_TOO_BIG)
		p->ip->hop_limit--;
	return reason;
}

#endif
