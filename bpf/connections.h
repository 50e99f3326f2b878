/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The connection table: buckets of one cache line, two for each key.
 *
 * An entry is claimed by compare-and-swap of its word from 0, then its key is stored. It is given up by swapping
 * the word to WORD_DYING, clearing the key, then the word. A packet changes the word only by compare-and-swap, so it
 * cannot bring back what the sweep has removed, and who wins the swap does the counting. A live entry is never evicted.
 */
#ifndef POINTSMAN_CONNECTIONS_H
#define POINTSMAN_CONNECTIONS_H

#include "states.h"

#define WORD_STATE_OF(word) ((__u32)((word) >> WORD_STATE) & 15)
#define WORD_DEST_OF(word) ((__u32)((word) >> WORD_DEST) & 0x3ffff)
#define WORD_FRONT_OF(word) ((__u32)((word) >> WORD_FRONT))
#define EASY_LOAD 1 /* ways in use up to which the first bucket is taken without looking at the second */
#define WORD_CHANGING ((15ULL << WORD_STATE) | DEADLINE_MASK)

static __always_inline __u64 connection_key(struct packet *p)
{
	return p->client | (__u64)p->client_port << 32 | (__u64)p->virtual_port << 48;
}

/* The lower half names the first bucket, the upper half the second. */
static __always_inline __u64 spread(__u64 key, __u64 salt)
{
	__u64 hash = (key + salt * 0xff51afd7ed558ccdULL) * control.seed;

	hash ^= hash >> 32;
	hash *= 0xc4ceb9fe1a85ec53ULL;
	return hash ^ hash >> 29;
}

static __always_inline struct connection *find_in_bucket(__u32 index, __u64 key, __u32 front, __u64 *word)
{
	struct connection_bucket *bucket = bpf_map_lookup_elem(&pm_connections, &index);

	if (!bucket)
		return 0;
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		if (*(volatile __u64 *)&bucket->way[way].key == key) {
			*word = *(volatile __u64 *)&bucket->way[way].word;
			/* The key once more: meanwhile the entry may have become another connection's. */
			if (WORD_FRONT_OF(*word) == front && *(volatile __u64 *)&bucket->way[way].key == key)
				return &bucket->way[way];
		}
	return 0;
}

static __always_inline struct connection *find_connection(__u64 hash, __u64 key, __u32 front, __u64 *word)
{
	struct connection *found = find_in_bucket(bucket_of(hash, limits.connection_buckets), key, front, word);

	return found ? found : find_in_bucket(bucket_of(hash >> 32, limits.connection_buckets), key, front, word);
}

static __always_inline int claim_in_bucket(__u32 index, __u64 key, __u64 word)
{
	struct connection_bucket *bucket = bpf_map_lookup_elem(&pm_connections, &index);

	if (!bucket)
		return 0;
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		if (!bucket->way[way].word && !__sync_val_compare_and_swap(&bucket->way[way].word, 0, word)) {
			*(volatile __u64 *)&bucket->way[way].key = key;
			return 1;
		}
	return 0;
}

static __always_inline __u32 used_in_bucket(__u32 index)
{
	struct connection_bucket *bucket = bpf_map_lookup_elem(&pm_connections, &index);
	__u32 used = 0;

	if (!bucket)
		return WAYS;
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		used += bucket->way[way].word != 0;
	return used;
}

/*
 * The first bucket while it is half empty, so that most look-ups read one line, then the emptier one: with twice as
 * many ways as connections practically none is refused (docs/data-plane.md). Returns 0 when both buckets are full.
 */
static __always_inline int add_connection(__u64 hash, __u64 key, __u64 word)
{
	__u32 first = bucket_of(hash, limits.connection_buckets),
	      second = bucket_of(hash >> 32, limits.connection_buckets);
	__u32 used = used_in_bucket(first);

	if (used > EASY_LOAD && used > used_in_bucket(second)) {
		used = first;
		first = second;
		second = used;
	}
	return claim_in_bucket(first, key, word) || claim_in_bucket(second, key, word);
}

static __always_inline __u64 connection_word(__u32 front, __u32 dest, __u32 state, __u64 flags)
{
	return (__u64)front << WORD_FRONT | (__u64)dest << WORD_DEST | (__u64)state << WORD_STATE | flags |
	       deadline_in(control.timeout[state & 15]);
}

#endif
