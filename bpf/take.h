/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Take records of another director, or of another version's tables, into the tables here. Records come from outside:
 * everything in them is checked, and what becomes of each is counted.
 *
 * A connection that another director carries is marked foreign. It is counted with its server, as IPVS's backup
 * counts it, and its first packet here makes it ours.
 */
#ifndef POINTSMAN_TAKE_H
#define POINTSMAN_TAKE_H

#include "fwmark.h"
#include "slow_path6.h"

#define DELETED_LATELY 60 /* seconds for which a deleted server may get records; it is freed after 120 */

static __always_inline int is_state_of(__u32 state, __u8 protocol)
{
	if (protocol == IPPROTO_UDP)
		return state == STATE_UDP || state == STATE_NONE;
	if (protocol == IPPROTO_SCTP)
		return state == STATE_NONE || (state >= STATE_SCTP_INIT1 && state <= STATE_SCTP_CLOSED);
	return state <= STATE_CLOSE || state == STATE_SYNACK;
}

static __always_inline int is_sound(struct record *record)
{
	__u32 state = record->rest >> RECORD_STATE;

	if (record->flags & ~RECORD_FLAGS || record->rest & ~(RECORD_SECONDS | 0x0fU << RECORD_STATE))
		return 0;
	if (record->flags & RECORD_TEMPLATE)
		return !state && !record->client_port && (record->fwmark || is_balanced(record->protocol));
	return is_balanced(record->protocol) && is_state_of(state, record->protocol);
}

static __always_inline int find_service4(struct record *record, struct flow *flow)
{
	int reason;

	flow->client[0] = flow->hashed_client = (__u32)record->client[0];
	flow->hashed_virtual = (__u32)record->virtual[0];
	flow->key = flow->client[0] | (__u64)record->client_port << 32 | (__u64)record->virtual_port << 48;
	reason = find_service(flow);
	if (record->fwmark)
		reason = find_marked_service(flow, record->fwmark);
	if (!flow->wide)
		flow->hash = hash_key(flow->key, flow->front);
	return reason;
}

static __always_inline int find_service6(struct record *record, struct flow *flow)
{
	struct packet6 packet = {
		.client = { record->client[0], record->client[1] },
		.virtual = { record->virtual[0], record -> virtual[1] },
		.client_port = record->client_port,
		.virtual_port = record->virtual_port,
		.protocol = record->protocol,
	};

	if (!record->fwmark)
		return describe_flow6(&packet, flow, 0, 0);
	flow->wide = 1;
	flow->client[0] = record->client[0];
	flow->client[1] = record->client[1];
	flow->hashed_virtual = (__u32)record->virtual[0];
	flow->key = record->client_port | (__u32)record->virtual_port << 16;
	return find_marked_service(flow, record->fwmark);
}

/* Describe the flow of a record. Returns GO_ON when its service is known here. */
__noinline int find_flow_of(struct record *record, struct flow *flow)
{
	if (!record || !flow)
		return EXIT_NO_SERVICE;
	flow->client_port = record->client_port;
	flow->virtual_port = record->virtual_port;
	flow->protocol = record->protocol;
	return record->flags & RECORD_IPV6 ? find_service6(record, flow) : find_service4(record, flow);
}

static __always_inline int is_deleted_service(__u32 index)
{
	struct service *service = bpf_map_lookup_elem(&pm_services, &index);

	return !service || service->flags & SERVICE_DELETED;
}

/* Return the server of a record; NOBODY if it is unknown here, or was deleted some time ago. */
static __always_inline __u32 find_dest_of(struct record *record, __u32 service)
{
	struct dest_name name = {
		.address = { record->server[0], record->server[1] },
		.service = service,
		.port = bpf_ntohs(record->server_port),
		.family = record->flags & RECORD_SERVER6 ? 6 : 4,
	};
	__u32 *found = bpf_map_lookup_elem(&pm_dest_names, &name), index = found ? *found : NOBODY;
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);

	if (!dest || (!(dest->egress & DEST_AVAILABLE) &&
		      (control.expire_nodest_conn || control.now - dest->deleted_at >= DELETED_LATELY)))
		return NOBODY;
	return index;
}

static __always_inline __u64 deadline_of(struct record *record, __u32 longest)
{
	__u32 seconds = record->rest & RECORD_SECONDS;

	return deadline_in(seconds < longest ? seconds : longest);
}

/* True if what a record says of its sender makes the entry foreign. */
static __always_inline int becomes_foreign(struct record *record, __u32 flags)
{
	return !(flags & TAKE_OURS && record->flags & RECORD_CARRIED);
}

static __always_inline int is_live(struct record *record, __u32 flags)
{
	return flags & TAKE_LIVE && record->flags & RECORD_CARRIED;
}

/* Count a connection on the template of its client, if it is here. Returns 0 if not. */
__noinline int control_template(__u64 client, __u64 rest, __u64 connection)
{
	struct template *t = controlling_template(client, rest, connection);

	for (int i = 0; t && i < SWAP_TRIES; i++) {
		__u64 word = *(volatile __u64 *)&t->word;

		if (!word || word == WORD_DYING || TEMPLATE_CONTROLS_OF(word) == TEMPLATE_CONTROLS_MAX)
			return 0;
		if (__sync_val_compare_and_swap(&t->word, word, word + ONE_CONTROL) == word)
			return 1;
	}
	return 0;
}

/* Replace the word of an entry, and move its counts. Returns 0 if a packet was faster. */
static __always_inline int replace_word(struct flow *flow, struct connection *entry, __u64 word, __u64 wanted)
{
	int moves = WORD_DEST_OF(word) != WORD_DEST_OF(wanted);

	if (!moves)
		wanted = (wanted & ~WORD_CONTROLLED) | (word & WORD_CONTROLLED);
	if (__sync_val_compare_and_swap(&entry->word, word, wanted) != word)
		return 0;
	if (!moves) {
		move_load(WORD_DEST_OF(word), WORD_STATE_OF(word), WORD_STATE_OF(wanted));
		return 1;
	}
	bind_load(WORD_DEST_OF(wanted), WORD_STATE_OF(wanted));
	release_load(WORD_DEST_OF(word), WORD_STATE_OF(word));
	if (word & WORD_CONTROLLED)
		release_template(flow->client[0], flow->client[1], word);
	return 1;
}

/*
 * Take news of a connection that is known here. What we carry stays ours, unless its packets have moved, or it has
 * ended and the ports are another connection's.
 */
static __always_inline int update_connection(struct flow *flow, struct connection *entry, __u64 word, __u64 wanted,
					     int live)
{
	int moves = WORD_DEST_OF(word) != WORD_DEST_OF(wanted);

	if (!(word & WORD_FOREIGN) && !is_due(word)) {
		if (!moves && !live)
			return TAKE_RESULT_KEPT;
		if (moves && !has_ended(WORD_STATE_OF(word)))
			return TAKE_RESULT_CONFLICT;
	}
	if (moves && wanted & WORD_CONTROLLED && !control_template(flow->client[0], flow->client[1], wanted))
		wanted &= ~WORD_CONTROLLED;
	if (replace_word(flow, entry, word, wanted))
		return TAKE_RESULT_UPDATED;
	if (moves && wanted & WORD_CONTROLLED)
		release_template(flow->client[0], flow->client[1], wanted);
	return TAKE_RESULT_KEPT;
}

static __always_inline int insert_connection(struct flow *flow, __u64 word)
{
	if (word & WORD_CONTROLLED && !control_template(flow->client[0], flow->client[1], word))
		word &= ~WORD_CONTROLLED;
	if (!add_entry(flow, word)) {
		if (word & WORD_CONTROLLED)
			release_template(flow->client[0], flow->client[1], word);
		return TAKE_RESULT_FULL;
	}
	bind_load(WORD_DEST_OF(word), WORD_STATE_OF(word));
	return TAKE_RESULT_ADDED;
}

__noinline int take_connection(struct record *record, struct flow *flow, __u32 dest, __u32 flags)
{
	struct connection *entry;
	__u64 word = 0, wanted;
	__u32 state;

	if (!record || !flow)
		return TAKE_RESULT_MALFORMED;
	state = record->rest >> RECORD_STATE & 15;
	wanted = (__u64)flow->front << WORD_FRONT | (__u64)dest << WORD_DEST | (__u64)state << WORD_STATE |
		 deadline_of(record, control.timeout[state]);
	if (becomes_foreign(record, flags))
		wanted |= WORD_FOREIGN;
	if (record->flags & RECORD_CONTROLLED)
		wanted |= WORD_CONTROLLED;
	entry = find_entry(flow, &word);
	return entry ? update_connection(flow, entry, word, wanted, is_live(record, flags))
		     : insert_connection(flow, wanted);
}

static __always_inline int update_template(struct template *t, struct persist_key *persist, __u64 wanted, __u64 rest,
					   int live)
{
	__u64 word = *(volatile __u64 *)&t->word, key = *(volatile __u64 *)&t->key;
	int moves = TEMPLATE_DEST_OF(word) != TEMPLATE_DEST_OF(wanted);

	if (!(key & TEMPLATE_FOREIGN) && !is_due(word) && is_available(TEMPLATE_DEST_OF(word))) {
		if (moves)
			return TAKE_RESULT_CONFLICT;
		if (!live)
			return TAKE_RESULT_KEPT;
	}
	if (moves) {
		*(volatile __u64 *)&t->key = key | TEMPLATE_PARKED;
		return claim_template(persist, wanted, rest) ? TAKE_RESULT_UPDATED : TAKE_RESULT_FULL;
	}
	wanted = (word & ~DEADLINE_MASK) | (wanted & (DEADLINE_MASK | TEMPLATE_ASSURED));
	if (__sync_val_compare_and_swap(&t->word, word, wanted) != word)
		return TAKE_RESULT_KEPT;
	*(volatile __u64 *)&t->key = (key & ~TEMPLATE_FOREIGN) | (rest & TEMPLATE_FOREIGN);
	return TAKE_RESULT_UPDATED;
}

__noinline int take_template(struct record *record, struct flow *flow, __u32 dest, __u32 flags)
{
	struct persist_key persist;
	struct service *service;
	struct template *t;
	__u64 word, rest;
	__u32 index;

	if (!record || !flow)
		return TAKE_RESULT_MALFORMED;
	index = flow->service;
	service = bpf_map_lookup_elem(&pm_services, &index);
	if (!service || !service->persistence)
		return TAKE_RESULT_NO_SERVICE;
	persist = make_persist_key(record->client[0], record->client[1], service->mask, service->group);
	rest = service->persistence < LONGEST_TIMEOUT ? service->persistence : LONGEST_TIMEOUT;
	word = (__u64)dest << TEMPLATE_DEST | (record->flags & RECORD_ASSURED ? TEMPLATE_ASSURED : 0) |
	       deadline_of(record, rest > TEMPLATE_REARM ? rest : TEMPLATE_REARM);
	if (becomes_foreign(record, flags))
		rest |= TEMPLATE_FOREIGN;
	t = find_template(&persist);
	if (t)
		return update_template(t, &persist, word, rest, is_live(record, flags));
	return claim_template(&persist, word, rest) ? TAKE_RESULT_ADDED : TAKE_RESULT_FULL;
}

__noinline int take_record(struct record *record, __u32 flags)
{
	struct flow flow = {};
	__u32 dest;

	if (!record || !is_sound(record))
		return TAKE_RESULT_MALFORMED;
	if (!(record->rest & RECORD_SECONDS))
		return TAKE_RESULT_EXPIRED;
	if (find_flow_of(record, &flow) != GO_ON || is_deleted_service(flow.service))
		return TAKE_RESULT_NO_SERVICE;
	dest = find_dest_of(record, flow.service);
	if (dest == NOBODY)
		return TAKE_RESULT_NO_SERVER;
	return record->flags & RECORD_TEMPLATE ? take_template(record, &flow, dest, flags)
					       : take_connection(record, &flow, dest, flags);
}

struct taking {
	__u32 lane;
	__u32 flags;
};

static int take_one(__u32 step, struct taking *taking)
{
	__u32 index = taking->lane * LANE_RECORDS + step, counter = taking->lane * TAKE_RESULTS;
	struct record *record = bpf_map_lookup_elem(&pm_exchange, &index);
	__u64 *count;

	if (!record)
		return 1;
	counter += take_record(record, taking->flags) & (TAKE_RESULTS - 1);
	count = bpf_map_lookup_elem(&pm_taken, &counter);
	if (count)
		*count += 1;
	return 0;
}

static __always_inline int take(struct exchange *exchange)
{
	struct taking taking = { .lane = exchange->lane & (LANES - 1), .flags = exchange->flags };
	__u32 count = exchange->count;

	bpf_loop(count < LANE_RECORDS ? count : LANE_RECORDS, take_one, &taking, 0);
	return 0;
}

#endif
