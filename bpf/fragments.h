/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Fragments. The first fragment has the ports and is handled as a whole packet; its server is kept for the others. A
 * fragment that arrives before the first is passed to the stack, because XDP cannot hold a packet back. IPVS
 * reassembles packets and fragments them again.
 */
#ifndef POINTSMAN_FRAGMENTS_H
#define POINTSMAN_FRAGMENTS_H

#include "server_list.h"
#include "parse6.h"

#define FRAGMENT_SECONDS 30 /* net.ipv4.ipfrag_time */

static __always_inline struct fragment_key fragment_key_of(struct iphdr *ip)
{
	return (struct fragment_key){
		.source = { ip->saddr },
		.target = { ip->daddr },
		.identification = ip->id,
		.protocol = ip->protocol,
	};
}

static __always_inline struct fragment_key fragment6_key_of(struct ipv6hdr *ip, __u32 identification)
{
	struct fragment_key key = { .identification = identification, .protocol = FRAGMENT };

	__builtin_memcpy(key.source, &ip->saddr, sizeof(key.source));
	__builtin_memcpy(key.target, &ip->daddr, sizeof(key.target));
	return key;
}

/* Keep the server of a first fragment. With NOBODY the other fragments are dropped. */
static __always_inline void remember_fragments(struct fragment_key key, __u32 dest)
{
	struct fragment fragment = { .dest = dest, .until = control.now + FRAGMENT_SECONDS };

	bpf_map_update_elem(&pm_fragments, &key, &fragment, BPF_ANY);
}

/* Find the server of the first fragment. Returns GO_ON, or why this fragment ends here. */
static __always_inline enum exit_reason find_first(struct fragment_key key, __u32 *dest)
{
	struct fragment *first = bpf_map_lookup_elem(&pm_fragments, &key);

	if (!first || (__s32)(first->until - control.now) <= 0)
		return EXIT_FRAGMENT;
	*dest = first->dest;
	return *dest == NOBODY ? EXIT_NO_DESTINATION : GO_ON;
}

static __always_inline enum exit_reason find_later_fragment(struct iphdr *ip, void *end, __u32 frame, __u32 *dest)
{
	__u32 length = bpf_ntohs(ip->tot_len);

	if (ip->version != 4 || ip->ihl < 5 || length + sizeof(struct ethhdr) > frame || length <= ip->ihl * 4 ||
	    !is_header_sum_valid(ip, end))
		return EXIT_MALFORMED;
	return find_first(fragment_key_of(ip), dest);
}

static __always_inline enum exit_reason find_later_fragment6(struct ipv6hdr *ip, void *end, __u32 frame, __u32 *dest)
{
	struct fragment_header *fragment = (void *)(ip + 1);
	__u32 length = bpf_ntohs(ip->payload_len) + sizeof(*ip);

	if ((void *)(fragment + 1) > end || ip->version != 6 || length + sizeof(struct ethhdr) > frame ||
	    length <= sizeof(*ip) + sizeof(*fragment))
		return EXIT_MALFORMED;
	return find_first(fragment6_key_of(ip, fragment->identification), dest);
}

#endif
