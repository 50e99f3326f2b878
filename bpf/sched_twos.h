/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* twos chooses by chance, and so does, by the flow's hash, what serves flows that found no room. */
#ifndef POINTSMAN_SCHED_TWOS_H
#define POINTSMAN_SCHED_TWOS_H

#include "server_list.h"

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

__noinline __u32 choose_twos(struct service *service)
{
	__u64 total = draw_server(service, COUNT_WEIGHTS), one, other;

	if (!total)
		return NOBODY;
	one = draw_server(service, bpf_get_prandom_u32() % total);
	other = draw_server(service, bpf_get_prandom_u32() % total);
	return overhead_of(one) * (other >> 32) > overhead_of(other) * (one >> 32) ? other : one;
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
