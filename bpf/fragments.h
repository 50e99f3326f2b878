/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Fragments. The first one has the ports: it takes the way of a whole packet, and what it has found out is kept for
 * the others. One that comes before the first is passed on, as those of packets for the host itself must be: nothing
 * can be held back here. IPVS has the host put packets together and takes them apart again.
 */
#ifndef POINTSMAN_FRAGMENTS_H
#define POINTSMAN_FRAGMENTS_H

#include "lists.h"

#define FRAGMENT_SECONDS 30 /* net.ipv4.ipfrag_time */

static __always_inline struct fragment_key name_fragments(struct iphdr *ip)
{
	return (struct fragment_key){
		.source = { ip->saddr },
		.target = { ip->daddr },
		.identification = ip->id,
		.protocol = ip->protocol,
	};
}

/* NOBODY: nobody takes the packet, its other fragments are dropped. */
static __always_inline void remember_fragments(struct iphdr *ip, __u32 dest)
{
	struct fragment_key key = name_fragments(ip);
	struct fragment fragment = { .dest = dest, .until = control.now + FRAGMENT_SECONDS };

	bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY);
}

/* A later fragment: where the first one went. Returns EXIT_COUNT, or why it goes nowhere. */
static __always_inline enum exit_reason follow_first(struct iphdr *ip, void *end, __u32 frame, __u32 *dest)
{
	__u32 length = bpf_ntohs(ip->tot_len);
	struct fragment_key key = name_fragments(ip);
	struct fragment *first;

	if (ip->version != 4 || ip->ihl < 5 || length + sizeof(struct ethhdr) > frame || length <= ip->ihl * 4 ||
	    !header_sum_holds(ip, end))
		return EXIT_MALFORMED;
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first || (__s32)(first->until - control.now) <= 0)
		return EXIT_FRAGMENT;
	*dest = first->dest;
	return *dest == NOBODY ? EXIT_NO_DESTINATION : EXIT_COUNT;
}

#endif
