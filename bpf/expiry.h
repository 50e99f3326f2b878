/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The clock, and the sweep that removes expired connections and templates. Both run in a BPF timer. */
#ifndef POINTSMAN_EXPIRY_H
#define POINTSMAN_EXPIRY_H

#include "persistence.h"

#define TICK_NS 10000000ULL
#define SWEEP_TICKS                                                                                                    \
	200 /* ticks in which every table is swept once; each part is short, because packets wait meanwhile */
#define SWEEP_SECONDS 2
#define CLOCK_MONOTONIC 1

/*
 * drop_entry (ip_vs_random_dropentry in ip_vs_conn.c): one in 32 of the connections that are not established ends
 * every second. IPVS also ends established connections with few packets; here established connections are kept.
 */
static __always_inline int is_given_up(__u64 word)
{
	__u32 state = WORD_STATE_OF(word);

	return is_defending(control.drop_entry) && (state == STATE_SYN_RECV || state == STATE_SYNACK) &&
	       bpf_get_prandom_u32() % (32 / SWEEP_SECONDS) == 0;
}

/*
 * True if it is this bucket's turn: once in a quarter of the timeout, so that it is once in a third even when sweeps
 * are late. `round`: how often the table has been swept.
 */
static __always_inline int is_turn(__u32 bucket, __u32 round, __u32 timeout)
{
	__u32 rounds = timeout / (4 * SWEEP_SECONDS);

	return rounds <= 1 || !((bucket + round) % rounds);
}

/*
 * Repeat for the other directors that we still carry this connection. Packets restart the timer here, and with them
 * the one there runs out. Final states are not repeated.
 */
static __always_inline int is_repeated(__u64 word, __u32 bucket, __u32 round)
{
	__u32 state = WORD_STATE_OF(word);

	return (word & (WORD_FOREIGN | WORD_ANNOUNCED)) == WORD_ANNOUNCED && !has_ended(state) &&
	       is_turn(bucket, round, control.timeout[state]);
}

/* `address` is the client's for IPv6, 0 for IPv4, where the key has it. */
static __always_inline void expire_connection(struct connection *entry, __u64 *address, __u32 bucket, __u32 round)
{
	__u64 word = *(volatile __u64 *)&entry->word, client, rest;

	if (!word || word == WORD_DYING)
		return;
	control.occupied++;
	client = address ? address[0] : (__u32)entry->key;
	rest = address ? address[1] : 0;
	if (!(is_due(word) || is_given_up_with(WORD_DEST_OF(word)) || is_given_up(word))) {
		if (control.sync && is_repeated(word, bucket, round))
			announce(client, rest, entry->key, word);
		return;
	}
	if (__sync_val_compare_and_swap(&entry->word, word, WORD_DYING) != word)
		return;
	release_load(WORD_DEST_OF(word), WORD_STATE_OF(word));
	if (is_half_open(WORD_STATE_OF(word)) && is_due(word))
		count_half_open(WORD_DEST_OF(word));
	if (word & WORD_CONTROLLED)
		release_template(client, rest, word);
	__sync_lock_test_and_set(&entry->key, 0);
	*(volatile __u64 *)&entry->word = 0;
}

/* Buckets are swept in a ring. */
static __always_inline __u32 wrap(__u32 index, __u32 buckets)
{
	return index < buckets ? index : index - buckets;
}

static int sweep_connections(__u32 step, __u32 *start)
{
	__u32 index = wrap(*start + step, limits.connection_buckets);
	struct connection_bucket *bucket = bpf_map_lookup_elem(&pm_connections, &index);

	if (!bucket)
		return 1;
	for (int way = 0; way < WAYS; way++)
		expire_connection(&bucket->way[way], 0, index, control.connection_round);
	return 0;
}

static int sweep_connections6(__u32 step, __u32 *start)
{
	__u32 index = wrap(*start + step, limits.connection6_buckets);
	struct connection6_bucket *bucket = bpf_map_lookup_elem(&pm_connections6, &index);

	if (!bucket)
		return 1;
	for (int way = 0; way < WAYS; way++)
		expire_connection(&bucket->way[way].entry, bucket->way[way].client, index, control.connection6_round);
	return 0;
}

/* True if connections hold the template. A server without connections has none that could. */
static __always_inline int is_held(__u64 word)
{
	__u32 index = TEMPLATE_DEST_OF(word);
	struct load *load = bpf_map_lookup_elem(&pm_loads, &index);

	return TEMPLATE_CONTROLS_OF(word) && load && total_held(load);
}

/* As is_repeated(). A template whose client has no established connection was not told. */
static __always_inline int is_template_repeated(struct template *t, __u64 word, __u32 bucket)
{
	return word & TEMPLATE_ASSURED && !(t->key & (TEMPLATE_FOREIGN | TEMPLATE_PARKED)) &&
	       is_turn(bucket, control.template_round, TIMEOUT_OF(t));
}

static __always_inline void expire_template(struct template *t, __u32 bucket)
{
	__u64 word = *(volatile __u64 *)&t->word;

	if (!word || word == WORD_DYING)
		return;
	if (!(is_due(word) || is_given_up_with(TEMPLATE_DEST_OF(word)))) {
		if (control.sync && is_template_repeated(t, word, bucket))
			announce_template(t->client[0], t->client[1], t->key, word);
		return;
	}
	if (is_held(word) && !is_given_up_with(TEMPLATE_DEST_OF(word))) {
		__u64 later = (word & ~DEADLINE_MASK) | deadline_in(TEMPLATE_REARM);

		__sync_val_compare_and_swap(&t->word, word, later);
		return;
	}
	if (__sync_val_compare_and_swap(&t->word, word, WORD_DYING) != word)
		return;
	count_template(TEMPLATE_DEST_OF(word), -1);
	__sync_lock_test_and_set(&t->key, 0);
	*(volatile __u64 *)&t->word = 0;
}

static int sweep_templates(__u32 step, __u32 *start)
{
	__u32 index = wrap(*start + step, limits.template_buckets);
	struct template_bucket *bucket = bpf_map_lookup_elem(&pm_templates, &index);

	if (!bucket)
		return 1;
	for (int way = 0; way < WAYS; way++)
		expire_template(&bucket->way[way], index);
	return 0;
}

/*
 * Once in every round, set `pressure` if more than three quarters of the configured number of connections are in use.
 * Each configured connection has two ways (tables.py). Connections of IPv6 count as well.
 */
static __always_inline void judge_pressure(void)
{
	control.pressure = control.occupied > limits.connection_buckets * (WAYS / 2) / 4 * 3;
	control.occupied = 0;
}

static __always_inline __u32 part_of(__u32 buckets, __u32 parts)
{
	return (buckets - 1) / parts + 1;
}

/* Sweep one of `parts` parts of every table, from where the last sweep ended. */
static __always_inline void sweep(__u32 parts)
{
	__u32 start = control.connection_sweep, buckets = part_of(limits.connection_buckets, parts);

	bpf_loop(buckets, sweep_connections, &start, 0);
	control.connection_sweep = wrap(start + buckets, limits.connection_buckets);
	if (control.connection_sweep <= start) {
		judge_pressure();
		control.connection_round++;
	}
	start = control.connection6_sweep;
	buckets = part_of(limits.connection6_buckets, parts);
	bpf_loop(buckets, sweep_connections6, &start, 0);
	control.connection6_sweep = wrap(start + buckets, limits.connection6_buckets);
	control.connection6_round += control.connection6_sweep <= start;
	start = control.template_sweep;
	buckets = part_of(limits.template_buckets, parts);
	bpf_loop(buckets, sweep_templates, &start, 0);
	control.template_sweep = wrap(start + buckets, limits.template_buckets);
	control.template_round += control.template_sweep <= start;
}

static int tick(void *map, __u32 *key, struct alarm *alarm)
{
	control.now = bpf_ktime_get_boot_ns() / 1000000000ULL;
	sweep(SWEEP_TICKS);
	bpf_timer_start(&alarm->timer, TICK_NS, 0);
	return 0;
}

#endif
