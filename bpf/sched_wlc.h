/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * lc, wlc, sed, nq, fo, ovf: the server with the least cost, and among equals the first of the list. A cost is a
 * fraction; two are compared by cross-multiplication, as in the kernel.
 *
 * The kernel compares all servers. Here a long list is divided into blocks, about as many as a block has servers.
 * Each block keeps its cheapest server until a load in it changes, so a connection reads all blocks, but only the
 * servers of blocks that have changed. The choice is the same.
 */
#ifndef POINTSMAN_SCHED_WLC_H
#define POINTSMAN_SCHED_WLC_H

#include "server_list.h"

/* Several of these are on the stack at once, so keep it small. */
struct scan {
	struct list list;
	__u16 active_costs; /* cost of an active and an inactive connection, and of the server itself */
	__u8 inactive_costs;
	__u8 server_costs;
	__u32 start; /* the first place */
	/* The cheapest so far: */
	__u32 dest;
	__u32 place;
	__u32 divisor;
	__u64 cost;
};

static __always_inline void set_costs(struct scan *scan)
{
	switch (scan->list.scheduler) {
	case SCHEDULER_LC:
	case SCHEDULER_WLC:
	case SCHEDULER_LBLC:
	case SCHEDULER_LBLCR:
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
}

/* Compare one server with the cheapest so far. Returns 1 when no later one can be cheaper. */
static __always_inline int compare_cost(__u32 place, struct scan *scan)
{
	__u32 index = scan->list.first + place, divisor;
	struct member *member = bpf_map_lookup_elem(&pm_members, &index);
	__u64 held, cost;
	struct load *load;

	if (!member || !member->weight)
		return 0;
	load = bpf_map_lookup_elem(&pm_loads, &member->dest);
	if (!load || load->overloaded)
		return 0;
	held = *(volatile __u64 *)&load->held;
	if (scan->list.scheduler == SCHEDULER_OVF && ACTIVE(held) > member->weight)
		return 0;
	divisor = scan->list.scheduler == SCHEDULER_LC ? 1 : member->weight;
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
	return !cost;
}

static int try_scan(__u32 step, struct scan *scan)
{
	return compare_cost(scan->start + step, scan);
}

struct block_scan {
	struct scan scan; /* of the best of each block */
	__u64 word;	  /* service.list */
	__u32 blocks;	  /* index of the first */
	__u32 shift;
};

/* Find the cheapest server of a block again. Returns what to store in the block. Not static: verified once. */
__noinline __u64 scan_block(__u64 word, __u32 index, __u32 number, __u32 shift)
{
	struct scan scan = { .dest = NOBODY + opaque_zero() };
	struct block *block = bpf_map_lookup_elem(&pm_blocks, &index);
	__u32 servers = 1 << (shift & 15);
	__u64 changes;

	if (!block)
		return BLOCK_NOBODY;
	changes = __sync_fetch_and_add(&block->changes, 0); /* before the loads are read, with a full barrier */
	open_list(&scan.list, word);
	set_costs(&scan);
	scan.start = number << (shift & 15);
	if (scan.start + servers > scan.list.count)
		servers = scan.list.count - scan.start;
	bpf_loop(servers, try_scan, &scan, 0);
	return (scan.dest == NOBODY ? BLOCK_NOBODY : scan.place) | changes << 32;
}

static int try_block(__u32 number, struct block_scan *block_scan)
{
	__u32 index = block_scan->blocks + number, place;
	struct block *block = bpf_map_lookup_elem(&pm_blocks, &index);
	__u64 best;

	if (!block)
		return 0;
	best = *(volatile __u64 *)&block->best;
	if (best >> 32 != *(volatile __u32 *)&block->changes) {
		best = scan_block(block_scan->word, index, number, block_scan->shift);
		/* If another CPU was faster, the count in it is old, and the block is scanned again. */
		*(volatile __u64 *)&block->best = best;
	}
	place = best & BLOCK_NOBODY;
	if (place == BLOCK_NOBODY)
		return 0;
	return compare_cost(place, &block_scan->scan);
}

/* Return {server, place << 32}. Not static: verified once. */
__noinline __u64 find_cheapest(struct service *service)
{
	struct block_scan block_scan = {};
	struct scan *scan = &block_scan.scan;
	__u64 head;

	if (!service)
		return NOBODY;
	block_scan.word = *(volatile __u64 *)&service->list;
	open_list(&scan->list, block_scan.word);
	scan->dest = NOBODY + opaque_zero();
	set_costs(scan);
	head = list_head(&scan->list, 1);
	block_scan.blocks = BLOCKS_FIRST(head);
	block_scan.shift = BLOCKS_SHIFT(head);
	if (!block_scan.blocks)
		bpf_loop(scan->list.count, try_scan, scan, 0);
	else
		bpf_loop(((scan->list.count - 1) >> (block_scan.shift & 15)) + 1, try_block, &block_scan, 0);
	return scan->dest | (__u64)scan->place << 32;
}

#endif
