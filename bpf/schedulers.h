/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Which real server takes a new connection: IPVS's choice, in IPVS's list order (newest first).
 *
 * A list and what a scheduler needs to start on it are written by user space as a whole (rosters.py) and switched with
 * one store of service.list. The cursor carries its list's generation, so one that is left from an older list is void.
 */
#ifndef POINTSMAN_SCHEDULERS_H
#define POINTSMAN_SCHEDULERS_H

#include "hashing.h"
#include "lists.h"

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

/* rr (ip_vs_rr.c): the next server after the last one used that may take a connection. */

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
 * wrr (ip_vs_wrr.c): the list is walked at a falling level; a server is taken when its weight reaches the level.
 * Levels are weights divided by their greatest common divisor, and levels nobody has are skipped at once.
 */

struct walk {
	struct list list;
	__u32 start;
	__u32 level;
	__u32 place; /* the first that reaches the level */
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

/* Returns 0 when nobody can be chosen. */
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
		/* All overloaded: the kernel has by then come down to the last level, or gone round once. */
		after = found ? make_cursor(list, walk.place + 1, walk.level)
			      : make_cursor(list, position, position ? 1 : highest);
		if (__sync_val_compare_and_swap(&service->cursor, before, after) == before)
			return found ? walk.dest : NOBODY;
	}
	return walk.dest;
}

/*
 * lc, wlc, sed, nq, fo, ovf: the server with the least cost, the first of the list among equals. A cost is a fraction,
 * compared by multiplying crosswise as the kernel does.
 */

struct scan {
	struct list list;
	__u32 active_costs; /* what a connection of each kind costs, and a server without any */
	__u32 inactive_costs;
	__u32 server_costs;
	__u32 by_weight;
	__u32 dest;
	__u32 place;
	__u32 divisor;
	__u64 cost;
};

static __always_inline void price(struct scan *scan)
{
	switch (scan->list.scheduler) {
	case SCHEDULER_LC:
	case SCHEDULER_WLC:
	case SCHEDULER_LBLC:
		scan->active_costs = 256;
		scan->inactive_costs = 1;
		break;
	case SCHEDULER_SED:
	case SCHEDULER_NQ:
		scan->active_costs = 1;
		scan->server_costs = 1;
		break;
	default: /* fo, ovf: the highest weight */
		scan->server_costs = 1;
	}
	scan->by_weight = scan->list.scheduler != SCHEDULER_LC;
}

static int try_scan(__u32 place, struct scan *scan)
{
	__u32 index = scan->list.first + place, divisor;
	struct member *member = bpf_map_lookup_elem(&members, &index);
	__u64 held, cost;
	struct load *load;

	if (!member || !member->weight)
		return 0;
	load = bpf_map_lookup_elem(&loads, &member->dest);
	if (!load || load->overloaded)
		return 0;
	held = *(volatile __u64 *)&load->held;
	if (scan->list.scheduler == SCHEDULER_OVF && ACTIVE(held) > member->weight)
		return 0;
	divisor = scan->by_weight ? member->weight : 1;
	cost = (__u64)ACTIVE(held) * scan->active_costs + (__u64)INACTIVE(held) * scan->inactive_costs +
	       scan->server_costs;
	if (scan->list.scheduler == SCHEDULER_NQ && !ACTIVE(held))
		cost = 0;
	if (scan->dest == NOBODY || scan->cost * divisor > cost * scan->divisor) {
		scan->dest = member->dest;
		scan->place = place;
		scan->cost = cost;
		scan->divisor = divisor;
	}
	return !cost; /* nobody after it can be cheaper */
}

static __always_inline __u32 choose_cheapest(struct list *list, __u32 *place)
{
	struct scan scan = { .list = *list, .dest = NOBODY + opaque_zero() };

	price(&scan);
	bpf_loop(list->count, try_scan, &scan, 0);
	*place = scan.place;
	return scan.dest;
}

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

static __always_inline __u32 choose_lblc(struct service *service, struct list *list)
{
	__u64 before = *(volatile __u64 *)&service->cursor;
	__u32 position = CURSOR_POSITION(cursor_of(service, list)), index = list->first + position - 1, dest, place;
	struct member *member = bpf_map_lookup_elem(&members, &index);

	if (position && position <= list->count && member && member->weight && !is_too_busy(list, member))
		return member->dest;
	dest = choose_cheapest(list, &place);
	if (dest != NOBODY)
		__sync_val_compare_and_swap(&service->cursor, before, make_cursor(list, place + 1, 0));
	return dest;
}

/*
 * twos (ip_vs_twos.c): two servers by weighted chance, then the one with the least overhead for its weight. With the
 * same server drawn twice, or equal overheads, it is the first draw.
 */

struct draw {
	struct list list;
	__u64 total;  /* of the weights so far */
	__u64 ticket; /* the server that brings `total` above it is drawn */
	__u32 dest;
	__u32 weight;
};

static int try_draw(__u32 place, struct draw *draw)
{
	__u32 dest = NOBODY, weight = weight_at(&draw->list, place, &dest);

	draw->total += weight;
	if (!weight || draw->total <= draw->ticket)
		return 0;
	draw->dest = dest;
	draw->weight = weight;
	return 1;
}

#define COUNT_WEIGHTS (~0ULL)

/* {server, weight << 32} of one draw, or the sum of the weights. A function of its own for the verifier's sake. */
__noinline __u64 draw_server(struct service *service, __u64 ticket)
{
	struct draw draw = { .ticket = ticket, .total = opaque_zero() };

	if (!service)
		return 0;
	open_list(&draw.list, *(volatile __u64 *)&service->list);
	bpf_loop(draw.list.count, try_draw, &draw, 0);
	return ticket == COUNT_WEIGHTS ? draw.total : draw.dest | (__u64)draw.weight << 32;
}

static __always_inline __u64 overhead_of(__u32 dest)
{
	struct load *load = bpf_map_lookup_elem(&loads, &dest);
	__u64 held = load ? *(volatile __u64 *)&load->held : 0;

	return (__u64)ACTIVE(held) * 256 + INACTIVE(held);
}

static __always_inline __u32 choose_twos(struct service *service)
{
	__u64 total = draw_server(service, COUNT_WEIGHTS), one, other;

	if (!total)
		return NOBODY;
	one = draw_server(service, bpf_get_prandom_u32() % total);
	other = draw_server(service, bpf_get_prandom_u32() % total);
	return overhead_of(one) * (other >> 32) > overhead_of(other) * (one >> 32) ? other : one;
}

/* `client` and `virtual` are addresses, `port` is the client's: what the hashing schedulers need. */
__noinline __u32 schedule(struct service *service, __u32 client, __u32 virtual, __u16 port)
{
	struct list list;
	__u32 place;

	if (!service)
		return NOBODY;
	open_list(&list, *(volatile __u64 *)&service->list);
	if (!list.count)
		return NOBODY;
	if (list.scheduler == SCHEDULER_RR)
		return choose_rr(service, &list);
	if (list.scheduler == SCHEDULER_WRR)
		return choose_wrr(service, &list);
	if (list.scheduler == SCHEDULER_SH || list.scheduler == SCHEDULER_DH || list.scheduler == SCHEDULER_MH)
		return choose_by_slot(service->flags, &list, client, virtual, port);
	if (list.scheduler == SCHEDULER_TWOS)
		return choose_twos(service);
	if (list.scheduler == SCHEDULER_LBLC)
		return choose_lblc(service, &list);
	return choose_cheapest(&list, &place);
}

/*
 * For flows the connection table has no room for: the highest random weight of the flow's hash and the server, so
 * that every packet of a flow meets the same server and a change of the list moves only the flows it must.
 */

struct ballot {
	struct list list;
	__u64 flow;
	__u64 highest;
	__u32 dest;
};

static int try_ballot(__u32 place, struct ballot *ballot)
{
	__u32 index = ballot->list.first + place;
	struct member *member = bpf_map_lookup_elem(&members, &index);
	__u64 score;

	if (!member || !member->weight)
		return 0;
	score = (ballot->flow ^ member->dest * 0x9e3779b97f4a7c15ULL) * 0xc4ceb9fe1a85ec53ULL;
	score = (score ^ score >> 32) | 1;
	if (score > ballot->highest) {
		ballot->highest = score;
		ballot->dest = member->dest;
	}
	return 0;
}

__noinline __u32 choose_by_hash(struct service *service, __u64 flow)
{
	struct ballot ballot = { .flow = flow, .highest = opaque_zero() };

	if (!service)
		return NOBODY;
	open_list(&ballot.list, *(volatile __u64 *)&service->list);
	bpf_loop(ballot.list.count, try_ballot, &ballot, 0);
	return ballot.dest;
}

#endif
