/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* From virtual address, port and protocol to the service. */
#ifndef POINTSMAN_SERVICES_H
#define POINTSMAN_SERVICES_H

#include "parse.h"

static __always_inline struct front *find_exact_front(__u32 address, __u16 port, __u8 protocol)
{
	__u64 key = address | (__u64)port << 32 | (__u64)protocol << 48 | 1ULL << 56;
	__u32 hash = (key * FRONT_HASH) >> 32;

#pragma unroll
	for (int probe = 0; probe < FRONT_PROBES; probe++) {
		__u32 index = (hash + probe) & limits.front_mask;
		struct front_bucket *bucket = bpf_map_lookup_elem(&fronts, &index);
		int holes = 0;

		if (!bucket)
			return 0;
#pragma unroll
		for (int way = 0; way < WAYS; way++) {
			__u64 found = bucket->way[way].key;

			if (found == key)
				return &bucket->way[way];
			if (!found)
				holes = 1;
		}
		if (holes)
			return 0;
	}
	return 0;
}

/* The front for this very port, else the one for every port of the address. */
static __always_inline struct front *find_front(struct packet *p)
{
	struct front *front = find_exact_front(p->virtual, p->virtual_port, p->protocol);

	if (!front && control.any_port)
		front = find_exact_front(p->virtual, 0, p->protocol);
	return front;
}

#endif
