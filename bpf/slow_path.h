/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The slow path: SCTP, ICMP errors, fragments, IP options, packets with a mark or a priority tag, and packets that are
 * longer than their header can tell. The same steps as separate functions: each is verified once by itself, and the stack has no room for all of them at once.
 */
#ifndef POINTSMAN_SLOW_PATH_H
#define POINTSMAN_SLOW_PATH_H

#include "director4.h"
#include "icmp_error.h"
#include "fragments.h"
#include "fwmark.h"

static __always_inline enum exit_reason read_slow(void *data, void *end, __u32 length, __u32 ingress, __u32 joined,
						  struct flow *flow, __u32 *dest)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct packet packet = { .joined = joined };
	enum exit_reason reason;
	enum kind kind;

	if ((void *)(ip + 1) > end)
		return EXIT_MALFORMED;
	kind = kind_of(ip);
	if (kind == LATER_FRAGMENT)
		reason = find_later_fragment(ip, end, length, dest);
	else
		reason = kind == ERROR ? parse_error(&packet, ip, end, length) : parse_rest(&packet, ip, end, length);
	*flow = (struct flow){
		.key = connection_key(&packet),
		.client = { packet.client },
		.hashed_client = packet.client,
		.hashed_virtual = packet.virtual,
		.client_port = packet.client_port,
		.virtual_port = packet.virtual_port,
		.protocol = packet.protocol,
		.flags = packet.flags,
		.is_error = kind == ERROR,
	};
	return reason == GO_ON && !addressed_to_us(data, ingress) ? EXIT_OTHER_HOST : reason;
}

__noinline int find_service(struct flow *flow)
{
	__u64 front;

	if (!flow)
		return EXIT_NO_SERVICE;
	front = find_front_elsewhere(flow->hashed_virtual, flow->virtual_port, flow->protocol);
	if (front == FRONT_NONE)
		return EXIT_NO_SERVICE;
	flow->front = FRONT_NUMBER(front);
	flow->service = FRONT_SERVICE(front);
	return GO_ON;
}

/* Find the server of a flow's connection; NOBODY if there is none. */
__noinline __u32 find_flow(struct flow *flow)
{
	struct connection *entry;
	__u64 word = 0;

	if (!flow)
		return NOBODY;
	if (!flow->wide)
		flow->hash = hash_key(flow->key, flow->front);
	entry = find_entry(flow, &word);
	if (entry && !starts_new_connection(word, flow->flags)) {
		/* An error does not restart the timer of the connection that it is about. */
		if (!flow->is_error)
			continue_connection(entry, word, flow->flags, flow->client[0], flow->client[1]);
		return WORD_DEST_OF(word);
	}
	flow->ended = entry ? word : 0;
	return NOBODY;
}

/*
 * Find the server of a packet that was read. Returns GO_ON when *dest is the server. A later fragment has its server
 * already, and an IPv6 packet its service. `mark` is 0, or a mark that selects a service.
 */
static __always_inline enum exit_reason serve_slow(struct flow *flow, enum exit_reason reason, __u32 mark, __u32 *dest)
{
	if (reason == GO_ON && *dest == NOBODY) {
		if (!flow->wide)
			reason = find_service(flow);
		if (mark)
			reason = find_marked_service(flow, mark);
		if (reason == GO_ON)
			*dest = find_flow(flow);
	}
	return reason == GO_ON && *dest == NOBODY ? start_flow(flow, dest) : reason;
}

static __always_inline enum action finish_slow(void *data, void *end, __u32 length, __u32 ingress, __u32 joined,
					       enum exit_reason reason, __u32 dest, __u32 *out)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct packet packet = { .ethernet = data, .ip = ip, .ingress = ingress, .joined = joined };
	enum action action;
	enum kind kind;

	if ((void *)(ip + 1) > end)
		return PASS;
	packet.length = length_of(ip, length, joined);
	packet.transport_header = ip->protocol == IPPROTO_TCP ? TCP_HEADER : 0;
	kind = kind_of(ip);
	if (kind == FIRST_FRAGMENT && (reason == GO_ON || reason == EXIT_NO_DESTINATION))
		remember_fragments(fragment_key_of(ip), dest);
	if (reason == GO_ON)
		reason = forward(&packet, dest, out);
	if (reason == GO_ON)
		return SEND;
	action = exit_action(reason, out);
	/* Never reply to an error, or to a packet without ports. */
	return action == REPLY && (kind == ERROR || kind == LATER_FRAGMENT) ? DROP : action;
}

#endif
