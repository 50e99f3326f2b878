/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Give the tables away as records: a page at a time, templates first, since connections hold them. */
#ifndef POINTSMAN_GIVE_H
#define POINTSMAN_GIVE_H

#include "persistence.h"

#define MOST_BUCKETS 65536 /* in one call, so that it is short even when the tables are empty */

struct giving {
	__u64 bucket; /* of all three tables, one after the other */
	__u32 first;  /* of the lane, in pm_exchange */
	__u32 count;
	__u32 wanted;
	__u32 flags;
};

/* Return the place for the next record. */
static __always_inline struct record *place_for(struct giving *giving)
{
	__u32 index = giving->first + giving->count;

	return giving->count < LANE_RECORDS ? bpf_map_lookup_elem(&pm_exchange, &index) : 0;
}

static __always_inline void give_connection(struct giving *giving, struct connection *entry, __u64 client, __u64 rest)
{
	__u64 key = *(volatile __u64 *)&entry->key, word = *(volatile __u64 *)&entry->word;
	struct record *record = place_for(giving);

	if (!record || !key || !word || word == WORD_DYING || is_due(word) ||
	    (giving->flags & GIVE_CARRIED && word & WORD_FOREIGN))
		return;
	giving->count += describe_connection(record, client, rest, key, word);
}

static __always_inline void give_template(struct giving *giving, struct template *t)
{
	__u64 key = *(volatile __u64 *)&t->key, word = *(volatile __u64 *)&t->word;
	struct record *record = place_for(giving);

	if (!record || !key || !word || word == WORD_DYING || is_due(word) || key & TEMPLATE_PARKED ||
	    (giving->flags & GIVE_CARRIED && key & TEMPLATE_FOREIGN))
		return;
	giving->count += describe_template(record, t->client[0], t->client[1], key, word);
}

static __always_inline void give_templates(struct giving *giving, __u32 index)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&pm_templates, &index);

	for (int way = 0; bucket && way < WAYS; way++)
		give_template(giving, &bucket->way[way]);
}

static __always_inline void give_connections(struct giving *giving, __u32 index)
{
	struct connection_bucket *bucket = bpf_map_lookup_elem(&pm_connections, &index);

	for (int way = 0; bucket && way < WAYS; way++)
		give_connection(giving, &bucket->way[way], (__u32)bucket->way[way].key, 0);
}

static __always_inline void give_connections6(struct giving *giving, __u32 index)
{
	struct connection6_bucket *bucket = bpf_map_lookup_elem(&pm_connections6, &index);

	for (int way = 0; bucket && way < WAYS; way++)
		give_connection(giving, &bucket->way[way].entry, bucket->way[way].client[0],
				bucket->way[way].client[1]);
}

/* Give one bucket. Returns 1 when the page is full or the tables are at their end. */
static int give_bucket(__u32 step, struct giving *giving)
{
	__u64 index = giving->bucket, fours = limits.connection_buckets;

	if (giving->count + WAYS > giving->wanted)
		return 1;
	if (index < limits.template_buckets)
		give_templates(giving, index);
	else if ((index -= limits.template_buckets) < fours)
		give_connections(giving, index);
	else if ((index -= fours) < limits.connection6_buckets)
		give_connections6(giving, index);
	else
		return 1;
	giving->bucket++;
	return 0;
}

static __always_inline int give(struct exchange *exchange)
{
	__u64 buckets = (__u64)limits.template_buckets + limits.connection_buckets + limits.connection6_buckets;
	struct giving giving = {
		.bucket = exchange->cursor,
		.first = (exchange->lane & (LANES - 1)) * LANE_RECORDS,
		.count = opaque_zero(),
		.wanted = exchange->count,
		.flags = exchange->flags,
	};

	bpf_loop(MOST_BUCKETS, give_bucket, &giving, 0);
	exchange->count = giving.count;
	exchange->cursor = giving.bucket < buckets ? giving.bucket : 0;
	return 0;
}

#endif
