/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Persistence templates: the server of a persistent client or network (ip_vs_sched_persist in ip_vs_core.c). */
#ifndef POINTSMAN_PERSISTENCE_H
#define POINTSMAN_PERSISTENCE_H

#include "announce.h"

#define SWAP_TRIES 4
#define TEMPLATE_CONTROLS_OF(word) (((word) >> TEMPLATE_CONTROLS) & TEMPLATE_CONTROLS_MAX)
#define ONE_CONTROL (1ULL << TEMPLATE_CONTROLS)

#define TIMEOUT_OF(t) ((__u32)(t)->key)
#define NAMING_BITS (~(TEMPLATE_FOREIGN | 0xffffffffULL)) /* of template.key: all but the timeout */

/* The key of a template: a client, or its network, and a service. */
struct persist_key {
	__u64 client[2]; /* masked */
	__u64 key;	 /* as template.key, without the timeout */
};

/* Return a mask of the first `bits` bits of eight bytes of an address. */
static __always_inline __u64 leading(__u32 bits)
{
	return bits >= 64 ? ~0ULL : bits ? bpf_cpu_to_be64(~0ULL << (64 - bits)) : 0;
}

static __always_inline struct persist_key make_persist_key(__u64 client, __u64 rest, __u32 bits, __u32 front)
{
	struct persist_key persist = {
		.client = { client & leading(bits), rest & leading(bits > 64 ? bits - 64 : 0) },
		.key = (__u64)front << 32 | 1ULL << 48,
	};

	return persist;
}

static __always_inline __u64 template_hash(struct persist_key *persist)
{
	return hash_key(persist->client[1] ^ hash_key(persist->client[0], 1), persist->key);
}

static __always_inline int is_for(struct template *t, struct persist_key *persist, __u64 looked_at)
{
	return (t->key & looked_at) == persist->key && t->client[0] == persist->client[0] &&
	       t->client[1] == persist->client[1];
}

static __always_inline struct template *find_template_in(__u32 index, struct persist_key *persist)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&pm_templates, &index);

	if (!bucket)
		return 0;
	for (int way = 0; way < WAYS; way++)
		if (is_for(&bucket->way[way], persist, NAMING_BITS))
			return &bucket->way[way];
	return 0;
}

static __always_inline struct template *find_template(struct persist_key *persist)
{
	__u64 hash = template_hash(persist);
	struct template *found = find_template_in(bucket_of(hash, limits.template_buckets), persist);

	return found ? found : find_template_in(bucket_of(hash >> 32, limits.template_buckets), persist);
}

/* Find the client's template for this server, parked or not. */
static __always_inline struct template *find_template_to(__u32 index, struct persist_key *persist, __u32 dest)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&pm_templates, &index);

	if (!bucket)
		return 0;
	for (int way = 0; way < WAYS; way++)
		if (is_for(&bucket->way[way], persist, NAMING_BITS & ~TEMPLATE_PARKED) &&
		    TEMPLATE_DEST_OF(bucket->way[way].word) == dest)
			return &bucket->way[way];
	return 0;
}

static __always_inline struct template *find_holder(struct persist_key *persist, __u32 dest)
{
	__u64 hash = template_hash(persist);
	struct template *found = find_template_to(bucket_of(hash, limits.template_buckets), persist, dest);

	return found ? found : find_template_to(bucket_of(hash >> 32, limits.template_buckets), persist, dest);
}

/* `rest`: the timeout, and flags of the key. */
static __always_inline struct template *claim_template_in(__u32 index, struct persist_key *persist, __u64 word,
							  __u64 rest)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&pm_templates, &index);

	if (!bucket)
		return 0;
	for (int way = 0; way < WAYS; way++)
		if (!bucket->way[way].word && !__sync_val_compare_and_swap(&bucket->way[way].word, 0, word)) {
			bucket->way[way].client[0] = persist->client[0];
			bucket->way[way].client[1] = persist->client[1];
			barrier();
			*(volatile __u64 *)&bucket->way[way].key = persist->key | rest;
			return &bucket->way[way];
		}
	return 0;
}

static __always_inline struct template *claim_template(struct persist_key *persist, __u64 word, __u64 rest)
{
	__u64 hash = template_hash(persist);
	struct template *made = claim_template_in(bucket_of(hash, limits.template_buckets), persist, word, rest);

	if (!made)
		made = claim_template_in(bucket_of(hash >> 32, limits.template_buckets), persist, word, rest);
	if (made)
		count_template(TEMPLATE_DEST_OF(word), 1);
	return made;
}

static __always_inline struct template *add_template(struct persist_key *persist, __u32 dest, __u32 timeout)
{
	if (timeout > LONGEST_TIMEOUT)
		timeout = LONGEST_TIMEOUT;
	return claim_template(persist, (__u64)dest << TEMPLATE_DEST | deadline_in(timeout), timeout);
}

/* Restart the timer of a template, and count connections that hold it. */
static __always_inline void hold_template(struct template *t, __u64 controls)
{
	for (int i = 0; i < SWAP_TRIES; i++) {
		__u64 word = *(volatile __u64 *)&t->word;

		if (!word || word == WORD_DYING || TEMPLATE_CONTROLS_OF(word) == TEMPLATE_CONTROLS_MAX)
			return;
		__u64 held = (word & ~DEADLINE_MASK) + controls * ONE_CONTROL + deadline_in(TIMEOUT_OF(t));

		if (held == word || __sync_val_compare_and_swap(&t->word, word, held) == word)
			return;
	}
}

/*
 * Give the client another template, because the server of this one was deleted. The old one stays, parked, for its
 * connections.
 */
static __always_inline struct template *replace_template(struct template *t, struct persist_key *persist, __u32 dest,
							 __u32 timeout)
{
	*(volatile __u64 *)&t->key = t->key | TEMPLATE_PARKED;
	return add_template(persist, dest, timeout);
}

/* Find the template that a connection holds, by the client and the service. */
static __always_inline struct template *controlling_template(__u64 client, __u64 rest, __u64 connection)
{
	__u32 index = WORD_DEST_OF(connection);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);
	struct service *service;
	struct template *found;
	struct persist_key persist;

	if (!dest)
		return 0;
	index = dest->service;
	service = bpf_map_lookup_elem(&pm_services, &index);
	if (!service)
		return 0;
	persist = make_persist_key(client, rest, service->mask, service->group);
	found = find_holder(&persist, WORD_DEST_OF(connection));
	if (found)
		return found;
	persist = make_persist_key(client, rest, service->previous_mask, service->group);
	return find_holder(&persist, WORD_DEST_OF(connection));
}

/*
 * Count a connection that no longer holds its template. `client` and `rest` are the halves of the address; for IPv4
 * `rest` is 0.
 */
__noinline int release_template(__u64 client, __u64 rest, __u64 connection)
{
	struct template *t = controlling_template(client, rest, connection);

	if (!t)
		return 0;
	for (int i = 0; i < SWAP_TRIES; i++) {
		__u64 word = *(volatile __u64 *)&t->word;

		if (!word || word == WORD_DYING || !TEMPLATE_CONTROLS_OF(word))
			return 0;
		if (__sync_val_compare_and_swap(&t->word, word, word - ONE_CONTROL) == word)
			return 0;
	}
	return 0;
}

/*
 * Mark the template: a connection of the client was established (IPVS: ASSURED). From now on it is ours. That is told
 * here and not when it is made: a flood of SYNs is no news.
 */
__noinline int assure_template(__u64 client, __u64 rest, __u64 connection)
{
	struct template *t = controlling_template(client, rest, connection);
	__u64 word = t ? *(volatile __u64 *)&t->word : 0;

	if (!t || !word || (word & TEMPLATE_ASSURED && !(t->key & TEMPLATE_FOREIGN)))
		return 0;
	__sync_val_compare_and_swap(&t->word, word, word | TEMPLATE_ASSURED);
	if (t->key & TEMPLATE_FOREIGN)
		*(volatile __u64 *)&t->key = t->key & ~TEMPLATE_FOREIGN;
	if (control.sync)
		announce_template(t->client[0], t->client[1], t->key, word | TEMPLATE_ASSURED);
	return 0;
}

#endif
