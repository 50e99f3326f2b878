/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * IPv6: the steps of director4.h.
 *
 * A packet that may start a connection goes back to the caller with its flow in pm_flow_in_hand. The caller asks
 * first_packet() for a server and sends the packet on. Packets of known connections make no BPF-to-BPF call: a call
 * and its return can cost as much as the rest of the path.
 */
#ifndef POINTSMAN_DIRECTOR6_H
#define POINTSMAN_DIRECTOR6_H

#include "flows.h"
#include "xmit_dr.h"
#include "action.h"

static __always_inline enum action send6(struct packet6 *p, __u32 dest, __u32 ingress, __u32 joined, __u32 *out)
{
	enum exit_reason reason = forward6(p, dest, ingress, joined, out);

	return reason == GO_ON ? SEND : exit_action6(reason, out);
}

/* Return what becomes of a packet that parse6() does not let go on. */
static __always_inline enum action not_plain6(enum exit_reason reason, __u32 joined, __u32 *out)
{
	if (reason == EXIT_NOT_IP)
		return OTHER_FAMILY;
	if (reason == EXIT_NOT_TRANSPORT || reason == EXIT_FRAGMENT || (reason == EXIT_MALFORMED && joined))
		return SLOW_PATH6;
	return exit_action6(reason, out);
}

/*
 * Send the packet on. Returns NEW_FLOW when the flow in hand is for first_packet(), SLOW_PATH6 when the packet may be
 * an ICMPv6 error or a fragment, or is longer than its header can tell, and OTHER_FAMILY when it is not IPv6.
 */
static __always_inline enum action direct6(void *data, void *end, __u32 length, __u32 ingress, __u32 joined, __u32 *out)
{
	struct packet6 packet = {};
	enum exit_reason reason = parse6(&packet, data, end, length, 0);

	if (reason != GO_ON)
		return not_plain6(reason, joined, out);

	__u64 sum = front6_sum(packet.virtual[0], packet.virtual[1], front6_key(&packet));
	__u64 front = find_front6(&packet, sum);

	if (front == FRONT_NONE)
		return exit_action6(EXIT_NO_SERVICE, out);
	if (!addressed_to_us(packet.ethernet, ingress))
		return exit_action6(EXIT_OTHER_HOST, out);

	__u64 hash = connection6_hash(&packet, sum), key = connection6_key(&packet, hash), word = 0;
	struct connection *entry = find_connection6(hash, packet.client, key, FRONT_NUMBER(front), &word);

	if (entry && !starts_new_connection(word, packet.flags)) {
		continue_connection(entry, word, packet.flags, packet.client[0], packet.client[1]);
		return send6(&packet, WORD_DEST_OF(word), ingress, joined, out);
	}

	struct flow *flow = hold_flow();

	if (!flow)
		return exit_action6(EXIT_NO_CONNECTION, out);
	*flow = (struct flow){
		.client = { packet.client[0], packet.client[1] },
		.key = key,
		.hash = hash,
		.ended = entry ? word : 0,
		.service = FRONT_SERVICE(front),
		.hashed_client = fold_address(packet.client),
		.hashed_virtual = fold_address(packet.virtual),
		.front = FRONT_NUMBER(front),
		.client_port = packet.client_port,
		.protocol = packet.protocol,
		.flags = packet.flags,
		.wide = 1,
	};
	return NEW_FLOW;
}

/* Send the first packet of a flow to its server. It has been parsed before. */
static __always_inline enum action direct_first6(void *data, void *end, __u32 ingress, __u32 joined, __u32 dest,
						 __u32 *out)
{
	struct packet6 packet = { .ethernet = data, .ip = data + sizeof(struct ethhdr) };

	packet.headers = sizeof(*packet.ip) + TCP_HEADER;
	if ((void *)(packet.ip + 1) > end)
		return exit_action6(EXIT_MALFORMED, out);
	packet.length = bpf_ntohs(packet.ip->payload_len) + sizeof(*packet.ip);
	return send6(&packet, dest, ingress, joined, out);
}

#endif
