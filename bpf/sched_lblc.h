/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * lblc and lblcr: connections to one destination address go to the same servers, as long as those are not too busy. A
 * server is too busy when it has more active connections than its weight, and another server fewer than half of its
 * own weight.
 *
 * lblc (ip_vs_lblc.c): a destination has one server. When that has weight 0 or is too busy, wlc chooses another.
 *
 * lblcr (ip_vs_lblcr.c): a destination has a set of servers, and wlc chooses one of them. When that is too busy, the
 * choice of wlc among all servers joins the set. A set that has not grown for a day loses its busiest server.
 */
#ifndef POINTSMAN_SCHED_LBLC_H
#define POINTSMAN_SCHED_LBLC_H

#include "sched_wlc.h"

#define SET 16		   /* servers of a destination; one more replaces the oldest */
#define SET_LIFETIME 86400 /* seconds (net.ipv4.vs.lblcr_expiration) */

struct destination {
	__u32 service;
	__u32 virtual; /* its address, folded as for the hashing schedulers */
};

struct locality {
	__u32 dest[SET]; /* a ring; NOBODY: removed */
	__u32 added;	 /* how many were ever added */
	__u32 modified;	 /* when the set last changed */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384); /* as many as ip_vs_lblc.c keeps */
	__type(key, struct destination);
	__type(value, struct locality);
} pm_localities SEC(".maps");

struct idle_scan {
	struct list list;
	__u32 found;
};

static int try_idle_scan(__u32 place, struct idle_scan *idle)
{
	__u32 index = idle->list.first + place;
	struct member *member = bpf_map_lookup_elem(&pm_members, &index);
	struct load *load = member ? bpf_map_lookup_elem(&pm_loads, &member->dest) : 0;

	if (!load || (__u64)ACTIVE(*(volatile __u64 *)&load->held) * 2 >= member->weight)
		return 0;
	idle->found = member->dest;
	return 1;
}

static __always_inline int is_too_busy(struct service *service, __u32 index)
{
	struct load *load = bpf_map_lookup_elem(&pm_loads, &index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);
	struct idle_scan idle = { .found = opaque_zero() };

	if (!load || !dest || ACTIVE(*(volatile __u64 *)&load->held) <= dest->weight)
		return 0;
	open_list(&idle.list, *(volatile __u64 *)&service->list);
	bpf_loop(idle.list.count, try_idle_scan, &idle, 0);
	return idle.found != NOBODY;
}

/* A scan for the least and the most loaded server of a set; among equals the newest. */
struct set_scan {
	struct destination destination;
	__u32 newest; /* place in the ring after the newest */
	__u32 sought; /* a server to look for: `holds_it` */
	__u32 holds_it;
	__u32 size;
	__u32 least, least_weight;
	__u32 most, most_weight, most_place;
	__u64 least_held, most_held;
};

static __always_inline void compare(struct set_scan *scan, __u32 index, __u32 place, struct dest *dest,
				    struct load *load)
{
	__u64 word = *(volatile __u64 *)&load->held, held = (__u64)ACTIVE(word) * 256 + INACTIVE(word);
	__u32 weight = dest->weight;

	if (weight && (scan->most == NOBODY || scan->most_held * weight < held * scan->most_weight)) {
		scan->most = index;
		scan->most_weight = weight;
		scan->most_held = held;
		scan->most_place = place;
	}
	if (!weight || load->overloaded || !(dest->egress & DEST_AVAILABLE))
		return;
	if (scan->least == NOBODY || scan->least_held * weight > held * scan->least_weight) {
		scan->least = index;
		scan->least_weight = weight;
		scan->least_held = held;
	}
}

static int try_set_scan(__u32 step, struct set_scan *scan)
{
	struct locality *set = bpf_map_lookup_elem(&pm_localities, &scan->destination);
	__u32 place = (scan->newest - 1 - step) & (SET - 1), index;
	struct dest *dest;
	struct load *load;

	if (!set)
		return 1;
	index = set->dest[place];
	dest = bpf_map_lookup_elem(&pm_dests, &index);
	load = bpf_map_lookup_elem(&pm_loads, &index);
	if (index == NOBODY || !dest || !load || dest->service != scan->destination.service)
		return 0;
	scan->size++;
	scan->holds_it |= index == scan->sought;
	compare(scan, index, place, dest, load);
	return 0;
}

static __always_inline void scan_set(struct set_scan *scan, struct locality *set)
{
	scan->newest = set->added;
	bpf_loop(set->added < SET ? set->added : SET, try_set_scan, scan, 0);
}

/* Return the server that the destination keeps; NOBODY when another is to be chosen. */
__noinline __u32 stay_with_server(struct service *service, __u32 index, __u32 virtual, __u32 several)
{
	struct set_scan scan = { .destination = { index, virtual }, .least = opaque_zero(), .most = opaque_zero() };
	struct locality *set = bpf_map_lookup_elem(&pm_localities, &scan.destination);

	if (!service || !set)
		return NOBODY;
	scan_set(&scan, set);
	if (several && scan.size > 1 && control.now - set->modified > SET_LIFETIME) {
		set->dest[scan.most_place & (SET - 1)] = NOBODY;
		set->modified = control.now;
	}
	if (!several) /* lblc ignores overload */
		scan.least = scan.most;
	if (scan.least == NOBODY || !is_available(scan.least) || is_too_busy(service, scan.least))
		return NOBODY;
	return scan.least;
}

/* Keep a newly chosen server: it replaces the old one (lblc) or joins the set (lblcr). */
__noinline int remember_server(__u32 index, __u32 virtual, __u32 dest, __u32 several)
{
	struct set_scan scan = { .destination = { index, virtual }, .sought = dest, .least = opaque_zero() };
	struct locality *set = bpf_map_lookup_elem(&pm_localities, &scan.destination), first = {};

	if (!set || !several) {
		first.dest[0] = dest;
		first.added = 1;
		first.modified = control.now;
		return bpf_map_update_elem(&pm_localities, &scan.destination, &first, BPF_ANY);
	}
	scan_set(&scan, set);
	if (scan.holds_it)
		return 0;
	set->dest[__sync_fetch_and_add(&set->added, 1) & (SET - 1)] = dest;
	set->modified = control.now;
	return 0;
}

static __always_inline __u32 choose_local(struct service *service, __u32 index, __u32 virtual, __u32 several)
{
	__u32 dest = stay_with_server(service, index, virtual, several);

	if (dest != NOBODY)
		return dest;
	dest = find_cheapest(service);
	if (dest != NOBODY)
		remember_server(index, virtual, dest, several);
	return dest;
}

#endif
