/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
#ifndef POINTSMAN_SCHED_TWOS_H
#define POINTSMAN_SCHED_TWOS_H

#include "server_list.h"

/*
 * twos (ip_vs_twos.c): draw two servers at random, by weight, and take the one with the least overhead for its
 * weight. If both draws are the same server, or the overheads are equal, take the first.
 */

struct weighted_draw {
	struct list list;
	__u64 total;  /* of the weights so far */
	__u64 ticket; /* the server that brings `total` above it is drawn */
	__u32 dest;
	__u32 weight;
};

static int try_weighted_draw(__u32 place, struct weighted_draw *draw)
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

/* Return {server, weight << 32} of a draw, or with COUNT_WEIGHTS the sum of the weights. Not static: verified once. */
__noinline __u64 draw_server(struct service *service, __u64 ticket)
{
	struct weighted_draw draw = { .ticket = ticket, .total = opaque_zero() };

	if (!service)
		return 0;
	open_list(&draw.list, *(volatile __u64 *)&service->list);
	bpf_loop(draw.list.count, try_weighted_draw, &draw, 0);
	return ticket == COUNT_WEIGHTS ? draw.total : draw.dest | (__u64)draw.weight << 32;
}

static __always_inline __u64 overhead_of(__u32 dest)
{
	struct load *load = bpf_map_lookup_elem(&pm_loads, &dest);
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

#endif
