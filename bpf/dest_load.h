/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What is known of a real server: its load (ActiveConn, InActConn, and the overload rule, ip_vs_dest_update_overload
 * in ip_vs_conn.c), signs that it does not answer, and whether it was deleted.
 */
#ifndef POINTSMAN_DEST_LOAD_H
#define POINTSMAN_DEST_LOAD_H

#include "maps.h"

#define ONE_ACTIVE 1ULL
#define ONE_INACTIVE (1ULL << 32)
#define ACTIVE(held) ((__u32)(held))
#define INACTIVE(held) ((__u32)((held) >> 32))

static __always_inline int is_active(__u32 state)
{
	return 1 << (state & 15) &
	       (1 << STATE_SYN_RECV | 1 << STATE_ESTABLISHED | 1 << STATE_SYNACK | 1 << STATE_SCTP_ESTABLISHED);
}

static __always_inline int is_available(__u32 index)
{
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);

	return dest && dest->egress & DEST_AVAILABLE;
}

/* True if the server was deleted and packets of its connections are to be refused, not dropped. */
static __always_inline int refuses_clients(__u32 index)
{
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);

	return dest && (dest->egress & (DEST_AVAILABLE | DEST_RESETS)) == DEST_RESETS;
}

/* Count a sign that this server may not answer (passive_check). The director then checks it at once. */
static __always_inline void count_passive(__u32 index, __u32 repeated, __u32 aborted)
{
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);
	struct traffic *counters = bpf_map_lookup_elem(&pm_traffic, &index);

	if (!dest || !counters || !(dest->egress & DEST_WATCHED))
		return;
	counters->repeated += repeated;
	counters->aborted += aborted;
}

/* True if the client has sent a SYN and nothing since (SYNACK: the same with secure_tcp). */
static __always_inline int is_half_open(__u32 state)
{
	return state == STATE_SYN_RECV || state == STATE_SYNACK;
}

/*
 * A further packet of a half-open connection shows whether the server has answered: a client that waits repeats its
 * SYN; ACK, RST or FIN follow an answer.
 */
__noinline int judge_answer(struct connection *entry, __u64 word, __u8 flags)
{
	__u32 index = WORD_DEST_OF(word), hash;
	struct unanswered *found = bpf_map_lookup_elem(&pm_unanswered, &index);

	if (!entry || !found)
		return 0;
	if (!(flags & SYN)) {
		if (found->expired || found->repeating)
			found->expired = found->repeating = 0;
		return 0;
	}
	hash = entry->key ^ entry->key >> 32;
	if (found->counted == hash)
		return 0;
	found->counted = hash;
	found->repeating++;
	found->last = control.now;
	return 0;
}

/* Count a connection that has expired half open. Only the sweep calls this. */
static __always_inline void count_half_open(__u32 index)
{
	struct unanswered *found = bpf_map_lookup_elem(&pm_unanswered, &index);

	if (!found)
		return;
	found->expired++;
	found->last = control.now;
}

/* True if the server is configured and has weight 0. */
static __always_inline int is_quiescent(__u32 index)
{
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);

	return dest && !dest->weight;
}

/* True if expire_nodest_conn is set and the server was deleted: its connections and templates end at once. */
static __always_inline int is_orphan(__u32 index)
{
	return control.expire_nodest_conn && !is_available(index);
}

/* True until the time is over for which connections are kept while no director is in charge. */
static __always_inline int is_kept_yet(void)
{
	return (__s32)(control.keep_until - control.now) > 0;
}

/* True if this server's connections were kept while no director is in charge, and the time for it is over. */
static __always_inline int was_kept(__u32 index)
{
	struct dest *dest;
	struct service *service;

	if (!control.keep_until || is_kept_yet())
		return 0;
	dest = bpf_map_lookup_elem(&pm_dests, &index);
	if (!dest)
		return 0;
	index = dest->service;
	service = bpf_map_lookup_elem(&pm_services, &index);
	return service && service->flags & SERVICE_KEPT;
}

/* True if an entry that leads to this server ends, whatever its timeout. */
static __always_inline int is_given_up_with(__u32 index)
{
	return is_orphan(index) || was_kept(index);
}

static __always_inline __u64 load_share(__u32 state)
{
	return is_active(state) ? ONE_ACTIVE : ONE_INACTIVE;
}

static __always_inline __u64 total_held(struct load *load)
{
	__u64 held = *(volatile __u64 *)&load->held;

	return (__u64)ACTIVE(held) + INACTIVE(held);
}

/*
 * Call this after the load has changed: a reader that reads the count first and the load second cannot miss the
 * change.
 */
static __always_inline void mark_block_changed(struct dest *dest)
{
	__u32 index = dest->block;
	struct block *block = bpf_map_lookup_elem(&pm_blocks, &index);

	if (index && block)
		__sync_fetch_and_add(&block->changes, 1);
}

/* Count a new connection. The limit is checked afterwards, so that `upper` connections fit. */
static __always_inline void bind_load(__u32 dest_index, __u32 state)
{
	struct load *load = bpf_map_lookup_elem(&pm_loads, &dest_index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &dest_index);

	if (!load || !dest)
		return;
	__sync_fetch_and_add(&load->held, load_share(state));
	if (dest->upper && total_held(load) >= dest->upper)
		*(volatile __u32 *)&load->overloaded = 1;
	mark_block_changed(dest);
}

static __always_inline void move_load(__u32 dest_index, __u32 before, __u32 after)
{
	struct load *load = bpf_map_lookup_elem(&pm_loads, &dest_index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &dest_index);

	if (!load || !dest || is_active(before) == is_active(after))
		return;
	__sync_fetch_and_add(&load->held, load_share(after) - load_share(before));
	mark_block_changed(dest);
}

/* Count a connection that has ended. Only here an overloaded server may become available again. */
static __always_inline void release_load(__u32 dest_index, __u32 state)
{
	struct load *load = bpf_map_lookup_elem(&pm_loads, &dest_index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &dest_index);
	__u64 total;

	if (!load || !dest)
		return;
	__sync_fetch_and_add(&load->held, -load_share(state));
	total = total_held(load);
	if (load->overloaded &&
	    (!dest->upper || (dest->lower ? total < dest->lower : total * 4 < (__u64)dest->upper * 3)))
		*(volatile __u32 *)&load->overloaded = 0;
	mark_block_changed(dest);
}

static __always_inline void count_template(__u32 dest_index, __s32 change)
{
	struct load *load = bpf_map_lookup_elem(&pm_loads, &dest_index);

	if (load)
		__sync_fetch_and_add(&load->persistent, change);
}

#endif
