/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* IPv4: the steps for a whole TCP or UDP packet without IP options. All other packets: slow_path.h. */
#ifndef POINTSMAN_DIRECTOR4_H
#define POINTSMAN_DIRECTOR4_H

#include "flows.h"
#include "xmit_dr.h"
#include "action.h"

/*
 * Find the service and the connection. Returns GO_ON when there is a service: then either *dest is the server of a
 * known connection, or *first describes the flow for first_packet().
 */
static __always_inline enum exit_reason find_server(struct packet *p, struct flow **first, __u32 *dest)
{
	__u64 front = find_front(p->virtual, p->virtual_port, p->protocol);

	if (front == FRONT_NONE)
		return EXIT_NO_SERVICE;
	if (!addressed_to_us(p->ethernet, ingress_of(p)))
		return EXIT_OTHER_HOST;

	__u64 key = connection_key(p), hash = hash_key(key, FRONT_NUMBER(front)), word = 0;
	struct connection *entry = find_connection(hash, key, FRONT_NUMBER(front), &word);

	if (entry && !starts_new_connection(word, p->flags)) {
		*dest = WORD_DEST_OF(word);
		continue_connection(entry, word, p->flags, p->client, 0);
	} else {
		struct flow *flow = hold_flow();

		if (!flow)
			return EXIT_NO_CONNECTION;
		*first = flow;
		*flow = (struct flow){
			.key = key,
			.hash = hash,
			.ended = entry ? word : 0,
			.front = FRONT_NUMBER(front),
			.service = FRONT_SERVICE(front),
			.client = { p->client },
			.hashed_client = p->client,
			.hashed_virtual = p->virtual,
			.client_port = p->client_port,
			.protocol = p->protocol,
			.flags = p->flags,
		};
	}
	return GO_ON;
}

/* Choose the server of a new connection. Returns GO_ON, or why there is none. */
static __always_inline enum exit_reason start_flow(struct flow *flow, __u32 *dest)
{
	*dest = first_packet(flow);
	return *dest == NOBODY ? flow->exit : GO_ON;
}

static __always_inline enum action direct(void *data, void *end, __u32 length, void *context, int tc, __u32 *out)
{
	struct packet packet = { .context = context, .tc = tc };
	struct flow *flow = 0;
	enum exit_reason reason = parse(&packet, data, end, length);
	__u32 dest = NOBODY;

	if (reason == EXIT_NOT_IP)
		return OTHER_FAMILY;
	/* A packet that offload has joined may be longer than its header can tell. */
	if (reason == EXIT_NOT_TRANSPORT || (reason == EXIT_MALFORMED && joined_of(&packet)))
		return SLOW_PATH;
	if (reason == GO_ON) {
		reason = find_server(&packet, &flow, &dest);
		if (flow)
			reason = start_flow(flow, &dest);
	}
	if (reason == GO_ON)
		reason = forward(&packet, dest, out);
	return reason == GO_ON ? SEND : exit_action(reason, out);
}

#endif
