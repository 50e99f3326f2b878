/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* lblc and lblcr: what goes to one destination address goes to the same servers, as long as they are not too busy. */
#ifndef POINTSMAN_LOCALITY_H
#define POINTSMAN_LOCALITY_H

#include "leastcost.h"
#include "rounds.h"

/*
 * lblc (ip_vs_lblc.c): a destination keeps its server until that one has weight 0, or more active connections than
 * its weight while another has less than half of its own; then wlc chooses. The destinations of an address service are
 * one, its VIP: so the server is where the cursor stands.
 */

struct lighter {
	struct list list;
	__u32 found;
};

static int try_lighter(__u32 place, struct lighter *lighter)
{
	__u32 index = lighter->list.first + place;
	struct member *member = bpf_map_lookup_elem(&members, &index);
	struct load *load = member ? bpf_map_lookup_elem(&loads, &member->dest) : 0;

	if (!load || (__u64)ACTIVE(*(volatile __u64 *)&load->held) * 2 >= member->weight)
		return 0;
	lighter->found = member->dest;
	return 1;
}

static __always_inline int is_too_busy(struct list *list, struct member *member)
{
	struct load *load = bpf_map_lookup_elem(&loads, &member->dest);
	struct lighter lighter = { .list = *list };

	if (!load || ACTIVE(*(volatile __u64 *)&load->held) <= member->weight)
		return 0;
	bpf_loop(list->count, try_lighter, &lighter, 0);
	return lighter.found != NOBODY;
}

/* The server that the destination stays with; NOBODY when another one is to be found. */
__noinline __u32 stay_with_server(struct service *service)
{
	__u32 position, index;
	struct member *member;
	struct list list;

	if (!service)
		return NOBODY;
	open_list(&list, *(volatile __u64 *)&service->list);
	position = CURSOR_POSITION(cursor_of(service, &list));
	index = list.first + position - 1;
	member = bpf_map_lookup_elem(&members, &index);
	if (position && position <= list.count && member && member->weight && !is_too_busy(&list, member))
		return member->dest;
	return NOBODY;
}

static __always_inline __u32 choose_lblc(struct service *service)
{
	__u64 before = *(volatile __u64 *)&service->cursor, found;
	__u32 dest = stay_with_server(service);
	struct list list;

	if (dest != NOBODY)
		return dest;
	open_list(&list, *(volatile __u64 *)&service->list);
	found = find_cheapest(service);
	if ((__u32)found != NOBODY)
		__sync_val_compare_and_swap(&service->cursor, before, make_cursor(&list, (found >> 32) + 1, 0));
	return found;
}

#endif
