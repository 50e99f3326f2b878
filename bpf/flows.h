/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The life of a connection: its first packet, later packets, and what happens when the table is full. */
#ifndef POINTSMAN_FLOWS_H
#define POINTSMAN_FLOWS_H

#include "connections6.h"
#include "overflow.h"
#include "sched.h"
#include "services.h"
#include "persistence.h"

/* Description of a packet for the functions that are verified by themselves. */
struct flow {
	__u64 client[2]; /* its address; IPv4: the lower half of the first */
	__u64 key;
	__u64 hash;
	__u64 ended; /* word of an entry in a final state whose ports start a new connection; else 0 */
	__u32 service;
	__u32 hashed_client; /* addresses as sh, mh and dh hash them; IPv6: exclusive or of the four words */
	__u32 hashed_virtual;
	__u16 front;
	__u16 client_port;
	__u16 virtual_port;
	__u8 protocol;
	__u8 flags;
	__u8 wide;     /* its connection is in the table of IPv6 */
	__u8 is_error; /* an ICMP error about a connection */
	__u8 exit;     /* why no server was found */
};

/* Per-CPU scratch: struct flow does not fit on the 512-byte stack, and a CPU handles one packet at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} pm_flow_in_hand SEC(".maps");

static __always_inline struct flow *hold_flow(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&pm_flow_in_hand, &key);
}

static __always_inline struct flow *blank_flow(void)
{
	struct flow *flow = hold_flow();

	if (flow)
		*flow = (struct flow){};
	return flow;
}

static __always_inline struct connection *find_entry(struct flow *flow, __u64 *word)
{
	return flow->wide ? find_connection6(flow->hash, flow->client, flow->key, flow->front, word)
			  : find_connection(flow->hash, flow->key, flow->front, word);
}

static __always_inline int add_entry(struct flow *flow, __u64 word)
{
	return flow->wide ? add_connection6(flow->hash, flow->client, flow->key, word)
			  : add_connection(flow->hash, flow->key, word);
}

static __always_inline struct persist_key persist_key_of(struct flow *flow, struct service *service)
{
	return make_persist_key(flow->client[0], flow->client[1], service->mask, service->group);
}

static __always_inline void count_connection(__u32 dest)
{
	struct traffic *counters = bpf_map_lookup_elem(&pm_traffic, &dest);

	if (counters)
		counters->connections += 1;
}

/* True if a template may select this server (ip_vs_check_template). */
static __always_inline int is_served(__u32 dest)
{
	return is_available(dest) && !(control.expire_quiescent_template && is_quiescent(dest));
}

static __always_inline __u32 schedule_flow(struct flow *flow, struct service *service)
{
	return schedule(service, flow->service, flow->hashed_client, flow->hashed_virtual, flow->client_port);
}

/* Choose a persistent client's server: the one of its template, whatever its load, else a scheduled one. */
static __always_inline __u32 choose_persistent(struct flow *flow, struct service *service, struct template **held)
{
	struct persist_key persist = persist_key_of(flow, service);
	struct template *t = find_template(&persist);
	__u32 dest = t ? TEMPLATE_DEST_OF(t->word) : NOBODY;

	if (!t || !is_served(dest)) {
		dest = schedule_flow(flow, service);
		if (dest == NOBODY)
			return NOBODY;
		t = t ? replace_template(t, &persist, dest, service->persistence)
		      : add_template(&persist, dest, service->persistence);
	}
	*held = t;
	if (t)
		return dest;
	count_exit(EXIT_TEMPLATES_FULL);
	return choose_by_hash(service, template_hash(&persist));
}

/* Reuse the entry of an ended connection with the same ports for the new one. Returns 0 if another CPU was faster. */
static __always_inline int reuse_entry(struct flow *flow, __u64 wanted)
{
	__u64 word = 0;
	struct connection *entry = find_entry(flow, &word);

	if (!entry || __sync_val_compare_and_swap(&entry->word, flow->ended, wanted) != flow->ended)
		return 0;
	release_load(WORD_DEST_OF(flow->ended), WORD_STATE_OF(flow->ended));
	if (flow->ended & WORD_CONTROLLED)
		release_template(flow->client[0], flow->client[1], flow->ended);
	return 1;
}

/* Remember that flows without an entry exist; their packets may arrive until the longest timeout has passed. */
static __always_inline void expect_untracked(void)
{
	__u32 until = control.now + control.timeout[STATE_ESTABLISHED];

	if (control.overflow_until != until)
		*(volatile __u32 *)&control.overflow_until = until ? until : 1;
}

/* Choose a server for a flow without an entry: the one of the client's template, else one by the flow's hash. */
static __always_inline __u32 choose_untracked(struct flow *flow, struct service *service)
{
	struct persist_key persist = persist_key_of(flow, service);
	struct template *t;

	if (!service->persistence)
		return choose_by_hash(service, flow->hash);
	t = find_template(&persist);
	if (!t || !is_served(TEMPLATE_DEST_OF(t->word)))
		return choose_by_hash(service, template_hash(&persist));
	hold_template(t, 0);
	return TEMPLATE_DEST_OF(t->word);
}

static __always_inline __u32 serve_untracked(struct flow *flow, struct service *service, enum exit_reason name)
{
	__u32 dest = choose_untracked(flow, service);

	if (dest == NOBODY) {
		flow->exit = EXIT_NO_DESTINATION;
		return NOBODY;
	}
	if (name == EXIT_TABLE_FULL)
		expect_untracked();
	count_exit(name);
	return dest;
}

/* Another packet of this connection has made the entry first: use its server. */
static __always_inline __u32 use_existing_entry(struct flow *flow, struct service *service)
{
	__u64 word = 0;
	struct connection *entry = find_entry(flow, &word);

	return entry ? WORD_DEST_OF(word) : serve_untracked(flow, service, EXIT_UNTRACKED);
}

static __always_inline int untracked_flows_live(void)
{
	return control.overflow_until && (__s32)(control.overflow_until - control.now) > 0;
}

static __always_inline int is_sloppy(__u8 protocol)
{
	return protocol == IPPROTO_TCP ? control.sloppy_tcp : control.sloppy_sctp;
}

/*
 * Return 0 if this packet may start a connection, else why not (ip_vs_try_to_schedule, ip_vs_schedule in
 * ip_vs_core.c).
 */
static __always_inline int refuses_to_start(struct flow *flow, struct service *service)
{
	if (service->flags & SERVICE_DELETED)
		return EXIT_NO_CONNECTION;
	if (flow->is_error)
		return control.schedule_icmp ? 0 : EXIT_NO_CONNECTION;
	if (flow->protocol != IPPROTO_UDP && (flow->flags & RST || !(flow->flags & SYN || is_sloppy(flow->protocol))))
		return EXIT_NO_CONNECTION;
	if (flow->client_port == bpf_htons(FTP_DATA))
		return EXIT_FTP_DATA;
	if (is_defending(control.drop_packet) && control.am_droprate && flow->protocol != IPPROTO_UDP &&
	    !(bpf_get_prandom_u32() % control.am_droprate))
		return EXIT_DROP_PACKET;
	return 0;
}

static __always_inline __u32 start_connection(struct flow *flow, struct service *service)
{
	/* An ICMP error does not set the state; the next packet does. */
	__u32 state = next_state(STATE_NONE, flow->flags) & (flow->is_error - 1U);
	struct template *held = 0;
	__u32 dest = service->persistence ? choose_persistent(flow, service, &held) : schedule_flow(flow, service);
	__u64 word;

	if (dest == NOBODY) {
		flow->exit = EXIT_NO_DESTINATION;
		return NOBODY;
	}
	if (service->flags & SERVICE_ONE_PACKET && flow->protocol == IPPROTO_UDP) {
		if (held)
			hold_template(held, 0);
		count_connection(dest);
		return dest;
	}
	word = connection_word(flow->front, dest, state, held ? WORD_CONTROLLED : 0);
	if (control.sync && is_news(state))
		word |= WORD_ANNOUNCED;
	if (flow->ended && !reuse_entry(flow, word))
		return use_existing_entry(flow, service);
	if (!flow->ended && !add_entry(flow, word))
		return serve_untracked(flow, service, EXIT_TABLE_FULL);
	if (held)
		hold_template(held, 1);
	bind_load(dest, state);
	count_connection(dest);
	if (word & WORD_ANNOUNCED)
		announce(flow->client[0], flow->client[1], flow->key, word);
	return dest;
}

/* True for a packet that belongs to an established connection, so that an answer of the stack would end that. */
static __always_inline int is_established_elsewhere(struct flow *flow)
{
	return flow->protocol != IPPROTO_UDP && !flow->is_error && !(flow->flags & (SYN | RST));
}

static __always_inline int has_grace(struct service *service)
{
	__u32 until = *(volatile __u32 *)&service->grace_until;

	return until && (until == GRACE_ALWAYS || (__s32)(until - control.now) > 0);
}

/* True if every director chooses the same server for this packet. */
static __always_inline int chooses_alike(struct service *service)
{
	__u32 scheduler = LIST_SCHEDULER(*(volatile __u64 *)&service->list);

	return !service->persistence && scheduler >= SCHEDULER_SH && scheduler <= SCHEDULER_MH;
}

/* While no director is in charge nothing begins: without a connection it is as if there were no service. */
static __always_inline int exit_of_kept(struct flow *flow)
{
	return is_established_elsewhere(flow) && is_kept_yet() ? EXIT_GRACE : EXIT_NO_SERVICE;
}

/* Choose the server of a packet whose connection is unknown or has ended. With NOBODY, flow->exit is the reason. */
__noinline __u32 first_packet(struct flow *flow)
{
	struct service *service;
	__u32 index;

	if (!flow)
		return NOBODY;
	index = flow->service;
	service = bpf_map_lookup_elem(&pm_services, &index);
	flow->exit = EXIT_NO_SERVICE;
	if (!service)
		return NOBODY;
	if (service->flags & SERVICE_KEPT) {
		flow->exit = exit_of_kept(flow);
		return NOBODY;
	}
	flow->exit = refuses_to_start(flow, service);
	if (flow->exit == EXIT_NO_CONNECTION && untracked_flows_live() && !(flow->flags & SYN) &&
	    !(service->flags & SERVICE_DELETED))
		return serve_untracked(flow, service, EXIT_UNTRACKED);
	if (flow->exit == EXIT_NO_CONNECTION && is_established_elsewhere(flow) && has_grace(service) &&
	    !(service->flags & SERVICE_DELETED))
		flow->exit = chooses_alike(service) ? 0 : EXIT_GRACE;
	if (flow->exit)
		return NOBODY;
	return start_connection(flow, service);
}

/* True if other directors are to know of it. A datagram alone is no news, a second one of another second is. */
static __always_inline int is_to_be_told(__u32 before, __u32 after)
{
	return control.sync && (is_news(after) || (after == STATE_UDP && before == after));
}

/*
 * Change the state of a connection, and restart its timer. The CPU that wins the swap moves the counts, and tells the
 * other directors. From now on the connection is ours. A packet for a deleted server does nothing: else a client that
 * keeps its port would never get another server. As in IPVS such packets are dropped.
 */
__noinline int change_state(struct connection *entry, __u64 word, __u8 flags, __u64 client, __u64 rest)
{
	if (!entry || !is_available(WORD_DEST_OF(word)))
		return 0;
	for (int i = 0; i < SWAP_TRIES; i++) {
		__u32 before = WORD_STATE_OF(word), after = next_state(before, flags);
		__u32 told = is_to_be_told(before, after);
		__u64 wanted = (word & ~WORD_CHANGING) | (__u64)after << WORD_STATE |
			       deadline_in(control.timeout[after & 15]) | (told ? WORD_ANNOUNCED : 0);
		__u64 found = __sync_val_compare_and_swap(&entry->word, word, wanted);

		if (found == word) {
			__u32 is_new = before != after || word & WORD_FOREIGN || (told && !(word & WORD_ANNOUNCED));

			move_load(WORD_DEST_OF(word), before, after);
			if (flags & RST && before == STATE_ESTABLISHED)
				count_passive(WORD_DEST_OF(word), 0, 1);
			if (is_new && word & WORD_CONTROLLED && is_open(after))
				assure_template(client, rest, word);
			if (is_new && told)
				announce(client, rest, *(volatile __u64 *)&entry->key, wanted);
			return 0;
		}
		if (WORD_FRONT_OF(found) != WORD_FRONT_OF(word))
			return 0;
		word = found;
	}
	return 0;
}

/* At most once a second for each connection, and when its state changes: other packets change nothing. */
static __always_inline void continue_connection(struct connection *entry, __u64 word, __u8 flags, __u64 client,
						__u64 rest)
{
	__u32 state = WORD_STATE_OF(word);

	if (may_leave_state(state, flags)) {
		if (is_half_open(state))
			judge_answer(entry, word, flags);
		if (next_state(state, flags) != state) {
			change_state(entry, word, flags, client, rest);
			return;
		}
	}
	if ((word ^ deadline_in(control.timeout[state])) & (DEADLINE_MASK | WORD_FOREIGN))
		change_state(entry, word, flags, client, rest);
}

/* For a SYN on the ports of a known connection: true if its server was deleted and the client is to be refused. */
static __always_inline int has_lost_its_server(__u64 word)
{
	if (WORD_STATE_OF(word) == STATE_SYN_RECV)
		count_passive(WORD_DEST_OF(word), 1, 0);
	return refuses_clients(WORD_DEST_OF(word));
}

/*
 * True if a SYN on the ports of this connection starts a new one: conn_reuse_mode (ip_vs_in, is_new_conn_expected in
 * ip_vs_core.c). A connection with a template goes on, unless expire_nodest_conn applies.
 */
__noinline int may_start_anew(__u64 word, __u8 flags)
{
	__u32 state = WORD_STATE_OF(word), mode = control.conn_reuse_mode;

	if (flags & SYN && has_lost_its_server(word))
		return 1;
	if (control.expire_nodest_conn &&
	    (is_orphan(WORD_DEST_OF(word)) || (flags & SYN && mode && is_quiescent(WORD_DEST_OF(word)))))
		return 1;
	if (!(flags & SYN) || !mode || word & WORD_CONTROLLED)
		return 0;
	return has_ended(state) || (mode & 2 && state == STATE_FIN_WAIT);
}

static __always_inline int starts_new_connection(__u64 word, __u8 flags)
{
	return (flags & SYN || control.expire_nodest_conn) && may_start_anew(word, flags);
}

#endif
