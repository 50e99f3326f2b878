/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * lblc and lblcr: what goes to one destination address goes to the same servers, as long as they are not too busy.
 *
 * lblc (ip_vs_lblc.c): a destination keeps its server until that one has weight 0, or more active connections than its
 * weight while another has less than half of its own; then wlc chooses. lblcr (ip_vs_lblcr.c): a destination has a set
 * of servers, of which wlc chooses; when the chosen one is too busy, wlc's choice among all joins the set. A set that
 * has not grown for a day gives up its busiest server.
 */
#ifndef POINTSMAN_SCHED_LBLC_H
#define POINTSMAN_SCHED_LBLC_H

#include "sched_wlc.h"

#define SET 16 /* servers of a destination; a further one takes the oldest one's place */
#define SET_LIFETIME 86400 /* seconds (net.ipv4.vs.lblcr_expiration) */

struct destination {
	__u32 service;
	__u32 virtual; /* its address, as the hashing schedulers take it */
};

struct locality {
	__u32 dest[SET];  /* a ring; NOBODY: given up */
	__u32 added;	  /* how many have ever been */
	__u32 modified;	  /* when the set last changed */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384); /* as many as ip_vs_lblc.c keeps */
	__type(key, struct destination);
	__type(value, struct locality);
} localities SEC(".maps");

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

static __always_inline int is_too_busy(struct service *service, __u32 index)
{
	struct load *load = bpf_map_lookup_elem(&loads, &index);
	struct dest *dest = bpf_map_lookup_elem(&dests, &index);
	struct lighter lighter = { .found = opaque_zero() };

	if (!load || !dest || ACTIVE(*(volatile __u64 *)&load->held) <= dest->weight)
		return 0;
	open_list(&lighter.list, *(volatile __u64 *)&service->list);
	bpf_loop(lighter.list.count, try_lighter, &lighter, 0);
	return lighter.found != NOBODY;
}

/* The least and the most loaded of a set, the newest first among equals. */
struct muster {
	struct destination destination;
	__u32 newest; /* the ring's place after the newest */
	__u32 sought; /* is this server in the set? */
	__u32 holds_it;
	__u32 size;
	__u32 least, least_weight;
	__u32 most, most_weight, most_place;
	__u64 least_held, most_held;
};

static __always_inline void compare(struct muster *m, __u32 index, __u32 place, struct dest *dest, struct load *load)
{
	__u64 word = *(volatile __u64 *)&load->held, held = (__u64)ACTIVE(word) * 256 + INACTIVE(word);
	__u32 weight = dest->weight;

	if (weight && (m->most == NOBODY || m->most_held * weight < held * m->most_weight)) {
		m->most = index;
		m->most_weight = weight;
		m->most_held = held;
		m->most_place = place;
	}
	if (!weight || load->overloaded || !(dest->way & DEST_AVAILABLE))
		return;
	if (m->least == NOBODY || m->least_held * weight > held * m->least_weight) {
		m->least = index;
		m->least_weight = weight;
		m->least_held = held;
	}
}

static int try_muster(__u32 step, struct muster *m)
{
	struct locality *set = bpf_map_lookup_elem(&localities, &m->destination);
	__u32 place = (m->newest - 1 - step) & (SET - 1), index;
	struct dest *dest;
	struct load *load;

	if (!set)
		return 1;
	index = set->dest[place];
	dest = bpf_map_lookup_elem(&dests, &index);
	load = bpf_map_lookup_elem(&loads, &index);
	if (index == NOBODY || !dest || !load || dest->service != m->destination.service)
		return 0;
	m->size++;
	m->holds_it |= index == m->sought;
	compare(m, index, place, dest, load);
	return 0;
}

static __always_inline void muster_set(struct muster *m, struct locality *set)
{
	m->newest = set->added;
	bpf_loop(set->added < SET ? set->added : SET, try_muster, m, 0);
}

/* The server that the destination stays with; NOBODY when another one is to be found. */
__noinline __u32 stay_with_server(struct service *service, __u32 index, __u32 virtual, __u32 several)
{
	struct muster muster = { .destination = { index, virtual }, .least = opaque_zero(), .most = opaque_zero() };
	struct locality *set = bpf_map_lookup_elem(&localities, &muster.destination);

	if (!service || !set)
		return NOBODY;
	muster_set(&muster, set);
	if (several && muster.size > 1 && control.now - set->modified > SET_LIFETIME) {
		set->dest[muster.most_place & (SET - 1)] = NOBODY;
		set->modified = control.now;
	}
	if (!several) /* lblc does not ask whether it is overloaded */
		muster.least = muster.most;
	if (muster.least == NOBODY || !is_available(muster.least) || is_too_busy(service, muster.least))
		return NOBODY;
	return muster.least;
}

/* Another server was found: it takes the place of the old one (lblc), or joins them. */
__noinline int remember_server(__u32 index, __u32 virtual, __u32 dest, __u32 several)
{
	struct muster muster = { .destination = { index, virtual }, .sought = dest, .least = opaque_zero() };
	struct locality *set = bpf_map_lookup_elem(&localities, &muster.destination), first = {};

	if (!set || !several) {
		first.dest[0] = dest;
		first.added = 1;
		first.modified = control.now;
		return bpf_map_update_elem(&localities, &muster.destination, &first, BPF_ANY);
	}
	muster_set(&muster, set);
	if (muster.holds_it)
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
