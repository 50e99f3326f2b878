/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Direct routing: change both MAC addresses, TTL or hop limit, and the IPv4 header checksum; nothing else. */
#ifndef POINTSMAN_XMIT_DR_H
#define POINTSMAN_XMIT_DR_H

#include "parse6.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)

static __always_inline void count_packet(__u32 dest, __u32 length)
{
	struct traffic *counters = bpf_map_lookup_elem(&pm_traffic, &dest);

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

/*
 * Return the largest packet that may leave. A packet that leaves by its ingress interface fits the MTU of that
 * interface.
 */
static __always_inline __u32 largest_allowed(struct dest *dest, __u64 egress, __u32 ingress)
{
	return DEST_INTERFACE(egress) == ingress ? dest->route_mtu : dest->mtu;
}

/* Return why a packet cannot leave to this server; GO_ON or GO_ON_TUNNEL when it can. */
static __always_inline enum exit_reason check_egress(struct dest *dest, __u32 dest_index, __u64 egress, __u32 largest,
						     __u8 ttl, __u32 ingress, __u32 *out)
{
	__u32 allowed = largest_allowed(dest, egress, ingress);

	if (!(egress & DEST_AVAILABLE))
		return egress & DEST_RESETS ? EXIT_CONNECTION_RESET : EXIT_SERVER_REMOVED;
	if (egress & DEST_LOCAL)
		return EXIT_LOCAL;
	if (ttl <= 1)
		return EXIT_TTL_EXCEEDED;
	if (!(egress & (DEST_RESOLVED | DEST_TUNNEL)))
		return EXIT_NO_NEIGHBOUR;
	if (largest > allowed) {
		*out = allowed;
		return EXIT_TOO_BIG;
	}
	*out = dest_index;
	return egress & DEST_TUNNEL ? GO_ON_TUNNEL : GO_ON;
}

#define DEST_USABLE (DEST_AVAILABLE | DEST_RESOLVED)

/*
 * Write the new frame header. Returns GO_ON when the packet may leave by interface *out. With EXIT_TOO_BIG *out is
 * the MTU, with GO_ON_TUNNEL the server. `largest` is the length of the packet, or of one segment if offload has
 * joined several.
 */
static __always_inline enum exit_reason address_frame(struct ethhdr *ethernet, __u32 dest_index, __u32 length,
						      __u32 largest, __u8 ttl, __u32 ingress, __u32 *out)
{
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &dest_index);
	enum exit_reason reason = GO_ON;
	__u64 egress;

	if (!dest)
		return EXIT_SERVER_REMOVED;
	egress = *(volatile __u64 *)&dest->egress;
	if ((egress & DEST_USABLE) != DEST_USABLE || ttl <= 1 || largest > dest->mtu) {
		reason = check_egress(dest, dest_index, egress, largest, ttl, ingress, out);
		if (reason == EXIT_SERVER_REMOVED || reason == EXIT_CONNECTION_RESET)
			return reason;
	}
	/* As IPVS does, count before checking whether the packet can leave. */
	count_packet(dest_index, length);
	if (reason != GO_ON)
		return reason;
	*(__u64 *)ethernet = *(volatile __u64 *)&dest->frame;
	*(__u32 *)((void *)ethernet + 8) = egress;
	*out = DEST_INTERFACE(egress);
	return GO_ON;
}

/* Return the length on the wire: of one segment, if offload has joined several. */
static __always_inline __u32 largest_length(struct packet *p)
{
	__u32 joined = joined_of(p);

	return joined ? joined + p->ip->ihl * 4 + p->transport_header : p->length;
}

/* Forward a packet. Returns as address_frame(). A packet that is too big has its TTL decremented. */
static __always_inline enum exit_reason forward(struct packet *p, __u32 dest, __u32 *out)
{
	enum exit_reason reason =
		address_frame(p->ethernet, dest, p->length, largest_length(p), p->ip->ttl, ingress_of(p), out);

	if (LIKELY(reason == GO_ON)) {
		decrement_ttl(p->ip);
		return GO_ON;
	}
	if (reason == EXIT_TOO_BIG)
		decrement_ttl(p->ip);
	return reason;
}

static __always_inline enum exit_reason forward6(struct packet6 *p, __u32 dest, __u32 ingress, __u32 joined, __u32 *out)
{
	__u32 largest = joined ? joined + p->headers : p->length;
	enum exit_reason reason = address_frame(p->ethernet, dest, p->length, largest, p->ip->hop_limit, ingress, out);

	if (LIKELY(reason == GO_ON)) {
		p->ip->hop_limit--;
		return GO_ON;
	}
	if (reason == EXIT_TOO_BIG)
		p->ip->hop_limit--;
	return reason;
}

#endif
