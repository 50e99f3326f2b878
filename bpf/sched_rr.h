/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * rr and wrr: the servers take turns.
 *
 * User space writes a list together with the start of its scheduler (server_list_format.py), and puts both in force
 * with one store of service.list. A cursor carries the generation of its list, so the cursor of an older list is
 * void.
 */
#ifndef POINTSMAN_SCHED_RR_H
#define POINTSMAN_SCHED_RR_H

#include "server_list.h"

#define CURSOR_TRIES 4

static __always_inline __u64 cursor_of(struct service *service, struct list *list)
{
	__u64 cursor = *(volatile __u64 *)&service->cursor;

	return CURSOR_GENERATION(cursor) == list->generation ? cursor : list_head(list, 0);
}

static __always_inline __u64 make_cursor(struct list *list, __u32 position, __u32 level)
{
	return position | (__u64)level << 16 | (__u64)list->generation << 48;
}

/* rr (ip_vs_rr.c): take the next server after the last one that may take a connection. */

struct round {
	struct list list;
	__u32 start; /* place after the last one used */
	__u32 place;
	__u32 dest;
};

static int try_round(__u32 step, struct round *round)
{
	__u32 place = round->start + step;

	if (place >= round->list.count)
		place -= round->list.count;
	if (!weight_at(&round->list, place, &round->dest))
		return 0;
	round->place = place;
	return 1;
}

static __always_inline __u32 choose_rr(struct service *service, struct list *list)
{
	struct round round = { .list = *list };

	for (int i = 0; i < CURSOR_TRIES; i++) {
		__u64 before = *(volatile __u64 *)&service->cursor, after;

		round.start = CURSOR_POSITION(cursor_of(service, list));
		if (round.start >= list->count)
			round.start = 0;
		round.place = MAX_SERVERS;
		if (!try_round(0, &round))
			bpf_loop(list->count, try_round, &round, 0);
		if (round.place == MAX_SERVERS)
			return NOBODY;
		after = make_cursor(list, round.place + 1, 0);
		if (__sync_val_compare_and_swap(&service->cursor, before, after) == before)
			break;
	}
	return round.dest;
}

/*
 * wrr (ip_vs_wrr.c): walk the list at a falling level, and take a server whose weight reaches the level. Levels are
 * weights divided by their greatest common divisor. Levels that no server has are skipped.
 */

struct walk {
	struct list list;
	__u32 start;
	__u32 level;
	__u32 place; /* of the first that reaches the level */
	__u32 dest;
	__u32 best; /* the highest weight seen, and the first that has it */
	__u32 best_place;
	__u32 best_dest;
};

static int try_walk(__u32 step, struct walk *walk)
{
	__u32 dest = 0, weight = weight_at(&walk->list, walk->start + step, &dest);

	if (weight >= walk->level) {
		walk->place = walk->start + step;
		walk->dest = dest;
		return 1;
	}
	if (weight > walk->best) {
		walk->best = weight;
		walk->best_place = walk->start + step;
		walk->best_dest = dest;
	}
	return 0;
}

static __always_inline int walk_from(struct walk *walk, __u32 start)
{
	walk->start = start;
	walk->place = MAX_SERVERS;
	walk->best = 0;
	if (start < walk->list.count && !try_walk(0, walk))
		bpf_loop(walk->list.count - start, try_walk, walk, 0);
	return walk->place != MAX_SERVERS;
}

/* Find the next server. Returns 0 when there is none. */
static __always_inline int find_next_weighted(struct walk *walk, __u32 position, __u32 highest)
{
	if (walk_from(walk, position))
		return 1;
	walk->level = walk->level > 1 ? walk->level - 1 : highest;
	if (walk_from(walk, 0))
		return 1;
	if (!walk->best)
		return 0;
	walk->level = walk->best;
	walk->place = walk->best_place;
	walk->dest = walk->best_dest;
	return 1;
}

static __always_inline __u32 choose_wrr(struct service *service, struct list *list)
{
	struct walk walk = { .list = *list };
	__u32 highest = list_head(list, 1);

	if (!highest)
		return NOBODY;
	for (int i = 0; i < CURSOR_TRIES; i++) {
		__u64 before = *(volatile __u64 *)&service->cursor, cursor = cursor_of(service, list), after;
		__u32 position = CURSOR_POSITION(cursor);
		int found;

		walk.level = CURSOR_LEVEL(cursor);
		found = find_next_weighted(&walk, position, highest);
		/* All are overloaded: by then the kernel is at the last level, or has walked the list once. */
		after = found ? make_cursor(list, walk.place + 1, walk.level)
			      : make_cursor(list, position, position ? 1 : highest);
		if (__sync_val_compare_and_swap(&service->cursor, before, after) == before)
			return found ? walk.dest : NOBODY;
	}
	return walk.dest;
}

__noinline __u32 take_turns(struct service *service)
{
	struct list list;

	if (!service)
		return NOBODY;
	open_list(&list, *(volatile __u64 *)&service->list);
	return list.scheduler == SCHEDULER_RR ? choose_rr(service, &list) : choose_wrr(service, &list);
}

#endif
