/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The connection table of IPv6: as in connections.h, with the client's address before each entry.
 *
 * The key is written last and cleared first, and is read before and after the rest. It contains a part of the hash,
 * so that the entry of another client is almost always rejected by its key alone.
 */
#ifndef POINTSMAN_CONNECTIONS6_H
#define POINTSMAN_CONNECTIONS6_H

#include "connections.h"
#include "parse6.h"

/* Hash client, virtual address, ports and protocol. `sum` is front6_sum(): the part that is not the client's. */
static __always_inline __u64 connection6_hash(struct packet6 *p, __u64 sum)
{
	__u64 half = (p->client[0] + sum + p->client_port * 0xff51afd7ed558ccdULL) * control.seed;

	return hash_key(p->client[1] + (half ^ half >> 32), 0);
}

static __always_inline __u64 connection6_key(struct packet6 *p, __u64 hash)
{
	return p->client_port | (__u32)p->virtual_port << 16 | hash >> 32 << 32 | 1ULL << 63;
}

/* Fold an address as the kernel's schedulers do (ip_vs_sh.c): exclusive or of its four words. */
static __always_inline __u32 fold_address(__u64 *address)
{
	__u64 both = address[0] ^ address[1];

	return both ^ both >> 32;
}

static __always_inline struct connection *find_in_bucket6(__u32 index, __u64 *client, __u64 key, __u32 front,
							  __u64 *word)
{
	struct connection6_bucket *bucket = bpf_map_lookup_elem(&pm_connections6, &index);

	if (!bucket)
		return 0;
#pragma unroll
	for (int way = 0; way < WAYS; way++) {
		struct connection6 *entry = &bucket->way[way];

		if (*(volatile __u64 *)&entry->entry.key != key)
			continue;
		*word = *(volatile __u64 *)&entry->entry.word;
		if (WORD_FRONT_OF(*word) == front && *(volatile __u64 *)&entry->client[0] == client[0] &&
		    *(volatile __u64 *)&entry->client[1] == client[1] && *(volatile __u64 *)&entry->entry.key == key)
			return &entry->entry;
	}
	return 0;
}

static __always_inline struct connection *find_connection6(__u64 hash, __u64 *client, __u64 key, __u32 front,
							   __u64 *word)
{
	struct connection *found =
		find_in_bucket6(bucket_of(hash, limits.connection6_buckets), client, key, front, word);

	return found ? found
		     : find_in_bucket6(bucket_of(hash >> 32, limits.connection6_buckets), client, key, front, word);
}

static __always_inline int claim_in_bucket6(__u32 index, __u64 *client, __u64 key, __u64 word)
{
	struct connection6_bucket *bucket = bpf_map_lookup_elem(&pm_connections6, &index);

	if (!bucket)
		return 0;
#pragma unroll
	for (int way = 0; way < WAYS; way++) {
		struct connection6 *entry = &bucket->way[way];

		if (!entry->entry.word && !__sync_val_compare_and_swap(&entry->entry.word, 0, word)) {
			*(volatile __u64 *)&entry->client[0] = client[0];
			*(volatile __u64 *)&entry->client[1] = client[1];
			*(volatile __u64 *)&entry->entry.key = key;
			return 1;
		}
	}
	return 0;
}

static __always_inline __u32 used_in_bucket6(__u32 index)
{
	struct connection6_bucket *bucket = bpf_map_lookup_elem(&pm_connections6, &index);
	__u32 used = 0;

	if (!bucket)
		return WAYS;
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		used += bucket->way[way].entry.word != 0;
	return used;
}

/* Choose a bucket as add_connection() does. */
static __always_inline int add_connection6(__u64 hash, __u64 *client, __u64 key, __u64 word)
{
	__u32 first = bucket_of(hash, limits.connection6_buckets),
	      second = bucket_of(hash >> 32, limits.connection6_buckets);
	__u32 used = used_in_bucket6(first);

	if (used > EASY_LOAD && used > used_in_bucket6(second)) {
		used = first;
		first = second;
		second = used;
	}
	return claim_in_bucket6(first, client, key, word) || claim_in_bucket6(second, client, key, word);
}

#endif
