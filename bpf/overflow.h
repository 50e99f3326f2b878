/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Flows without room in the connection table: highest random weight of the flow's hash and the server. So every
 * packet of a flow goes to the same server, and a change of the list moves as few flows as possible.
 */
#ifndef POINTSMAN_OVERFLOW_H
#define POINTSMAN_OVERFLOW_H

#include "server_list.h"

struct hrw_scan {
	struct list list;
	__u64 flow;
	__u64 highest;
	__u32 dest;
};

static int try_hrw_scan(__u32 place, struct hrw_scan *scan)
{
	__u32 index = scan->list.first + place;
	struct member *member = bpf_map_lookup_elem(&pm_members, &index);
	__u64 score;

	if (!member || !member->weight)
		return 0;
	score = (scan->flow ^ member->dest * 0x9e3779b97f4a7c15ULL) * 0xc4ceb9fe1a85ec53ULL;
	score = (score ^ score >> 32) | 1;
	if (score > scan->highest) {
		scan->highest = score;
		scan->dest = member->dest;
	}
	return 0;
}

__noinline __u32 choose_by_hash(struct service *service, __u64 flow)
{
	struct hrw_scan scan = { .flow = flow, .highest = opaque_zero() };

	if (!service)
		return NOBODY;
	open_list(&scan.list, *(volatile __u64 *)&service->list);
	bpf_loop(scan.list.count, try_hrw_scan, &scan, 0);
	return scan.dest;
}

#endif
