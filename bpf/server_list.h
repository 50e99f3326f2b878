/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The list of a service's servers, as user space writes it (server_list_format.py): newest first, as in IPVS. */
#ifndef POINTSMAN_SERVER_LIST_H
#define POINTSMAN_SERVER_LIST_H

#include "dest_load.h"
#include "states.h"

#define NOBODY 0 /* no real server has index 0 */
#define MAX_SERVERS 0xffff

struct list {
	__u32 first; /* of the servers themselves */
	__u16 count;
	__u16 generation;
	__u32 scheduler;
};

static __always_inline void open_list(struct list *list, __u64 word)
{
	list->first = LIST_FIRST(word) + LIST_HEAD;
	list->count = LIST_COUNT(word);
	list->scheduler = LIST_SCHEDULER(word);
	list->generation = LIST_GENERATION(word);
}

/* Return one of the two head elements, which are plain numbers. */
static __always_inline __u64 list_head(struct list *list, __u32 which)
{
	__u32 index = list->first - LIST_HEAD + which;
	__u64 *head = bpf_map_lookup_elem(&pm_members, &index);

	return head ? *head : 0;
}

/* Return the weight of the server at this place if it may take a connection, else 0. */
static __always_inline __u32 weight_at(struct list *list, __u32 place, __u32 *dest)
{
	__u32 index = list->first + place;
	struct member *member = bpf_map_lookup_elem(&pm_members, &index);
	struct load *load;

	if (!member || !member->weight)
		return 0;
	*dest = member->dest;
	load = bpf_map_lookup_elem(&pm_loads, dest);
	return load && !load->overloaded ? member->weight : 0;
}

#endif
