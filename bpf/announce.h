/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Tell other directors what this one carries: describe connections and templates as records, and write them to the
 * outbox. User space reads it in whole runs (exchange.py).
 *
 * The outbox is a ring of records for each CPU, in arrays that user space maps: a store costs less than a helper of
 * BPF_MAP_TYPE_RINGBUF, and a full ring overwrites what was not read, which the reader can count.
 */
#ifndef POINTSMAN_ANNOUNCE_H
#define POINTSMAN_ANNOUNCE_H

#include "connections.h"
#include "dest_load.h"

/* The states that other directors need to know of: from the end of the handshake on. */
static __always_inline int is_news(__u32 state)
{
	return 1 << (state & 15) &
	       (1 << STATE_ESTABLISHED | 1 << STATE_FIN_WAIT | 1 << STATE_TIME_WAIT | 1 << STATE_CLOSE |
		1 << STATE_SCTP_ESTABLISHED | 1 << STATE_SCTP_SHUTDOWN_RECEIVED | 1 << STATE_SCTP_CLOSED);
}

/* The states in which a client is served: they assure its template. */
static __always_inline int is_open(__u32 state)
{
	return state == STATE_ESTABLISHED || state == STATE_SCTP_ESTABLISHED || state == STATE_UDP;
}

static __always_inline __u32 seconds_left(__u64 word)
{
	return is_due(word) ? 0 : (word - control.now) & DEADLINE_MASK;
}

static __always_inline int describe_server(struct record *record, __u32 index)
{
	struct remote *remote = bpf_map_lookup_elem(&pm_remotes, &index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);

	if (!remote || !dest)
		return 0;
	record->server[0] = ((__u64 *)remote->address)[0];
	record->server[1] = ((__u64 *)remote->address)[1];
	record->server_port = bpf_htons(dest->port);
	return remote->family == 6 ? RECORD_SERVER6 : 0;
}

/* Write the part that connections found by a mark have in place of their front's name (fwmark.h). */
static __always_inline void describe_marked(struct record *record, struct front_name *name, __u64 client, __u64 rest,
					    __u64 key)
{
	record->fwmark = name->mark;
	record->virtual[1] = 0;
	if (name->flags & FRONT_NAME_IPV6) {
		__u32 protocol = key >> (32 + TAG_BITS) & 3;

		record->virtual[0] = key >> 32 & ((1U << TAG_BITS) - 1);
		record->protocol = protocol == 0 ? IPPROTO_TCP : protocol == 1 ? IPPROTO_UDP : IPPROTO_SCTP;
		return;
	}
	record->client[0] = (__u32)client;
	record->client[1] = 0;
	record->virtual[0] = client >> 32;
	record->protocol = rest;
}

static __always_inline struct front_name *describe_front(struct record *record, __u32 front)
{
	struct front_name *name = bpf_map_lookup_elem(&pm_front_names, &front);

	if (!name)
		return 0;
	record->virtual[0] = name->address[0];
	record->virtual[1] = name->address[1];
	record->protocol = name->protocol;
	record->fwmark = name->mark;
	return name;
}

/* Describe a connection; `client` and `rest` are the halves of its address as the entry has them. */
static __always_inline int describe_connection(struct record *record, __u64 client, __u64 rest, __u64 key, __u64 word)
{
	struct front_name *name = describe_front(record, WORD_FRONT_OF(word));
	__u32 flags, ports;

	if (!name)
		return 0;
	record->client[0] = client;
	record->client[1] = rest;
	ports = name->flags ? key : key >> 32;
	record->client_port = ports;
	record->virtual_port = ports >> 16;
	if (name->flags & FRONT_NAME_MARK)
		describe_marked(record, name, client, rest, key);
	flags = describe_server(record, WORD_DEST_OF(word));
	flags |= name->flags & FRONT_NAME_IPV6 ? RECORD_IPV6 : 0;
	flags |= word & WORD_CONTROLLED ? RECORD_CONTROLLED : 0;
	record->flags = flags | (word & WORD_FOREIGN ? 0 : RECORD_CARRIED);
	record->rest = seconds_left(word) | WORD_STATE_OF(word) << RECORD_STATE;
	return 1;
}

static __always_inline int describe_template(struct record *record, __u64 client, __u64 rest, __u64 key, __u64 word)
{
	struct front_name *name = describe_front(record, key >> 32 & 0xffff);
	__u32 flags;

	if (!name)
		return 0;
	record->client[0] = client;
	record->client[1] = rest;
	record->client_port = 0;
	record->virtual_port = name->port;
	flags = describe_server(record, TEMPLATE_DEST_OF(word)) | RECORD_TEMPLATE;
	flags |= name->flags & FRONT_NAME_IPV6 ? RECORD_IPV6 : 0;
	flags |= word & TEMPLATE_ASSURED ? RECORD_ASSURED : 0;
	record->flags = flags | (key & TEMPLATE_FOREIGN ? 0 : RECORD_CARRIED);
	record->rest = seconds_left(word);
	return 1;
}

/* Return the record of this CPU's ring that is written next. It is published by counting it. */
static __always_inline struct record *next_record(struct outbox_head **head)
{
	__u32 cpu = bpf_get_smp_processor_id(), index;

	*head = bpf_map_lookup_elem(&pm_outbox_heads, &cpu);
	if (!*head)
		return 0;
	index = cpu * (limits.outbox_mask + 1) + ((__u32)(*head)->written & limits.outbox_mask);
	return bpf_map_lookup_elem(&pm_outbox, &index);
}

/* Write a connection to the outbox. */
__noinline int announce(__u64 client, __u64 rest, __u64 key, __u64 word)
{
	struct outbox_head *head = 0;
	struct record *record = next_record(&head);

	if (head && record && describe_connection(record, client, rest, key, word))
		__sync_fetch_and_add(&head->written, 1);
	return 0;
}

/* Write a template to the outbox. */
__noinline int announce_template(__u64 client, __u64 rest, __u64 key, __u64 word)
{
	struct outbox_head *head = 0;
	struct record *record = next_record(&head);

	if (head && record && describe_template(record, client, rest, key, word))
		__sync_fetch_and_add(&head->written, 1);
	return 0;
}

#endif
