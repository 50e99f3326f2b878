/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The connection table. A bucket is one cache line; each key has two buckets.
 *
 * To claim an entry, swap its word from 0, then store its key. To free it, swap the word to WORD_DYING, clear the
 * key, then clear the word. Packets change the word by compare-and-swap only. So a packet cannot restore an entry
 * that the sweep has removed, and the one that wins the swap does the counting. A live entry is never evicted.
 */
#ifndef POINTSMAN_CONNECTIONS_H
#define POINTSMAN_CONNECTIONS_H

#include "states.h"

#define WORD_STATE_OF(word) ((__u32)((word) >> WORD_STATE) & 15)
#define WORD_DEST_OF(word) ((__u32)((word) >> WORD_DEST) & 0x3ffff)
#define WORD_FRONT_OF(word) ((__u32)((word) >> WORD_FRONT))
#define EASY_LOAD 1 /* with at most so many ways in use, take the first bucket without reading the second */
#define TAG_BITS 29 /* of a key in the table of IPv6, from bit 32 on; see widen_flow6() in fwmark.h */
#define TEMPLATE_DEST_OF(word) ((__u32)((word) >> TEMPLATE_DEST))
#define WORD_CHANGING ((15ULL << WORD_STATE) | WORD_FOREIGN | WORD_ANNOUNCED | DEADLINE_MASK)

/* True for the final states: the ports may be another connection's soon. */
static __always_inline int has_ended(__u32 state)
{
	return state == STATE_TIME_WAIT || state == STATE_CLOSE || state == STATE_SCTP_CLOSED;
}

static __always_inline __u64 connection_key(struct packet *p)
{
	return p->client | (__u64)p->client_port << 32 | (__u64)p->virtual_port << 48;
}

/* Hash a key. The lower half selects the first bucket, the upper half the second. */
static __always_inline __u64 hash_key(__u64 key, __u64 salt)
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
			/* Read the key again: the entry may have been reused for another connection. */
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
 * Use the first bucket while it is half empty, so that most look-ups read one line; else the emptier one. With twice
 * as many ways as connections, both buckets are full for about 3 in 100,000 (docs/data-plane.md). Returns 0 then.
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
