/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Persistence templates: which server a client (or its network) stays with (ip_vs_core.c, ip_vs_sched_persist). */
#ifndef POINTSMAN_TEMPLATES_H
#define POINTSMAN_TEMPLATES_H

#include "connections.h"
#include "loads.h"

#define SWAP_TRIES 4
#define TEMPLATE_DEST_OF(word) ((__u32)((word) >> TEMPLATE_DEST))
#define TEMPLATE_CONTROLS_OF(word) (((word) >> TEMPLATE_CONTROLS) & TEMPLATE_CONTROLS_MAX)
#define ONE_CONTROL (1ULL << TEMPLATE_CONTROLS)

static __always_inline __u64 template_key(__u32 masked_client, __u32 front)
{
	return masked_client | (__u64)front << 32 | 1ULL << 48;
}

static __always_inline __u64 template_hash(__u64 key)
{
	return spread(key, 1);
}

static __always_inline struct template *find_template_in(__u32 index, __u64 key)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&templates, &index);

	if (!bucket)
		return 0;
	for (int way = 0; way < WAYS; way++)
		if (bucket->way[way].key == key)
			return &bucket->way[way];
	return 0;
}

static __always_inline struct template *find_template(__u64 key)
{
	__u64 hash = template_hash(key);
	struct template *found = find_template_in(hash & limits.template_mask, key);

	return found ? found : find_template_in((hash >> 32) & limits.template_mask, key);
}

/* The one of this key, parked or not, that leads to this server. */
static __always_inline struct template *find_template_to(__u32 index, __u64 key, __u32 dest)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&templates, &index);

	if (!bucket)
		return 0;
	for (int way = 0; way < WAYS; way++)
		if ((bucket->way[way].key & ~TEMPLATE_PARKED) == key &&
		    TEMPLATE_DEST_OF(bucket->way[way].word) == dest)
			return &bucket->way[way];
	return 0;
}

static __always_inline struct template *find_holder(__u64 key, __u32 dest)
{
	__u64 hash = template_hash(key);
	struct template *found = find_template_to(hash & limits.template_mask, key, dest);

	return found ? found : find_template_to((hash >> 32) & limits.template_mask, key, dest);
}

static __always_inline struct template *claim_template_in(__u32 index, __u64 key, __u64 word, __u32 timeout)
{
	struct template_bucket *bucket = bpf_map_lookup_elem(&templates, &index);

	if (!bucket)
		return 0;
	for (int way = 0; way < WAYS; way++)
		if (!bucket->way[way].word && !__sync_val_compare_and_swap(&bucket->way[way].word, 0, word)) {
			bucket->way[way].timeout = timeout;
			*(volatile __u64 *)&bucket->way[way].key = key;
			return &bucket->way[way];
		}
	return 0;
}

static __always_inline struct template *add_template(__u64 key, __u32 dest, __u32 timeout)
{
	if (timeout > LONGEST_TIMEOUT)
		timeout = LONGEST_TIMEOUT;

	__u64 hash = template_hash(key);
	__u64 word = (__u64)dest << TEMPLATE_DEST | deadline_in(timeout);
	struct template *made = claim_template_in(hash & limits.template_mask, key, word, timeout);

	if (!made)
		made = claim_template_in((hash >> 32) & limits.template_mask, key, word, timeout);
	if (made)
		count_template(dest, 1);
	return made;
}

/* A new connection starts the timer anew and holds the template. */
static __always_inline void hold_template(struct template *t, __u64 controls)
{
	for (int i = 0; i < SWAP_TRIES; i++) {
		__u64 word = *(volatile __u64 *)&t->word;

		if (!word || word == WORD_DYING || TEMPLATE_CONTROLS_OF(word) == TEMPLATE_CONTROLS_MAX)
			return;
		__u64 held = (word & ~DEADLINE_MASK) + controls * ONE_CONTROL + deadline_in(t->timeout);

		if (held == word || __sync_val_compare_and_swap(&t->word, word, held) == word)
			return;
	}
}

/* The template's server was deleted: its client gets another one, and the old one is left to its connections. */
static __always_inline struct template *replace_template(struct template *t, __u64 key, __u32 dest, __u32 timeout)
{
	*(volatile __u64 *)&t->key = key | TEMPLATE_PARKED;
	return add_template(key, dest, timeout);
}

/* The template a controlled connection holds, found again by its client and front. */
static __always_inline struct template *controlling_template(__u32 client, __u64 connection)
{
	__u32 index = WORD_DEST_OF(connection), front = WORD_FRONT_OF(connection);
	struct dest *dest = bpf_map_lookup_elem(&dests, &index);
	struct service *service;
	struct template *found;

	if (!dest)
		return 0;
	index = dest->service;
	service = bpf_map_lookup_elem(&services, &index);
	if (!service)
		return 0;
	found = find_holder(template_key(client & service->mask, front), WORD_DEST_OF(connection));
	if (!found)
		found = find_holder(template_key(client & service->previous_mask, front), WORD_DEST_OF(connection));
	return found;
}

__noinline int release_template(__u32 client, __u64 connection)
{
	struct template *t = controlling_template(client, connection);

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

/* A connection of the client was established (IPVS: ASSURED). */
__noinline int assure_template(__u32 client, __u64 connection)
{
	struct template *t = controlling_template(client, connection);
	__u64 word = t ? *(volatile __u64 *)&t->word : 0;

	if (t && word && !(word & TEMPLATE_ASSURED))
		__sync_val_compare_and_swap(&t->word, word, word | TEMPLATE_ASSURED);
	return 0;
}

#endif
