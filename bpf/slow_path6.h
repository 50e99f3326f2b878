/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The slow path of IPv6: ICMPv6 errors and fragments whose header directly follows the IPv6 header, packets with a
 * mark or a priority tag, and packets that are longer than their header can tell. IPVS: ip_vs_in_icmp_v6(). As there, the real server verifies the checksum of an error.
 */
#ifndef POINTSMAN_SLOW_PATH6_H
#define POINTSMAN_SLOW_PATH6_H

#include "flows.h"
#include "xmit_dr.h"
#include "fragments.h"
#include "action.h"

static __always_inline enum kind kind6_of(struct ipv6hdr *ip, void *end)
{
	struct fragment_header *fragment = (void *)(ip + 1);

	if (ip->nexthdr == IPPROTO_ICMPV6)
		return ERROR;
	if (ip->nexthdr != FRAGMENT || (void *)(fragment + 1) > end)
		return WHOLE;
	return fragment->place & bpf_htons(FRAGMENT6_OFFSET) ? LATER_FRAGMENT : FIRST_FRAGMENT;
}

static __always_inline enum exit_reason parse_first_fragment6(struct packet6 *p, struct ipv6hdr *ip, void *end,
							      __u32 frame)
{
	struct fragment_header *fragment = (void *)(ip + 1);

	if ((void *)(fragment + 1) > end)
		return EXIT_MALFORMED;
	p->ip = ip;
	p->protocol = fragment->next;
	return is_balanced(p->protocol) ? read_fields(p, end, sizeof(*ip) + sizeof(*fragment), frame, 0)
					: EXIT_NOT_TRANSPORT;
}

/* Read the quoted packet, of `length` bytes, as if the client had sent it. */
static __always_inline enum exit_reason parse_quoted6(struct packet6 *p, struct ipv6hdr *quoted, __u32 length,
						      void *end)
{
	__u32 offset = sizeof(*quoted);
	struct udphdr *ports;

	p->protocol = quoted->nexthdr;
	if (quoted->version != 6 ||
	    skip_extensions(quoted, end, bpf_htons(FRAGMENT6_OFFSET), &p->protocol, &offset) != GO_ON)
		return EXIT_NOT_TRANSPORT;
	ports = (void *)quoted + offset;
	if (!is_balanced(p->protocol) || (void *)&ports->len > end || length < offset + 4)
		return EXIT_NOT_TRANSPORT;
	for (int half = 0; half < 2; half++) {
		p->client[half] = half_of(&quoted->daddr, half);
		p->virtual[half] = half_of(&quoted->saddr, half);
	}
	p->client_port = ports->dest;
	p->virtual_port = ports->source;
	return GO_ON;
}

/* Read an ICMPv6 error. Returns as parse6(); EXIT_NOT_TRANSPORT when it is not an error to be forwarded. */
static __always_inline enum exit_reason parse_error6(struct packet6 *p, struct ipv6hdr *ip, void *end, __u32 frame)
{
	struct icmp *icmp = (void *)(ip + 1);
	struct ipv6hdr *quoted = (void *)(icmp + 1);
	__u32 length = bpf_ntohs(ip->payload_len);

	if ((void *)(quoted + 1) > end || icmp->type >= ICMP6_INFORMATION)
		return EXIT_NOT_TRANSPORT;
	if (ip->version != 6 || length + sizeof(*ip) + sizeof(struct ethhdr) > frame ||
	    length < sizeof(*icmp) + sizeof(*quoted))
		return EXIT_MALFORMED;
	return parse_quoted6(p, quoted, length - sizeof(*icmp), end);
}

/* Describe the flow of a packet or error. With `marked` it need not have a front. */
static __always_inline enum exit_reason describe_flow6(struct packet6 *p, struct flow *flow, int is_error, int marked)
{
	__u64 sum = front6_sum(p->virtual[0], p -> virtual[1], front6_key(p)), hash = connection6_hash(p, sum);
	__u64 front = find_front6_elsewhere(p->virtual[0], p -> virtual[1], front6_key(p));

	if (front == FRONT_NONE && !marked)
		return EXIT_NO_SERVICE;
	*flow = (struct flow){
		.client = { p->client[0], p->client[1] },
		.key = connection6_key(p, hash),
		.hash = hash,
		.service = front == FRONT_NONE ? 0 : FRONT_SERVICE(front),
		.hashed_client = fold_address(p->client),
		.hashed_virtual = fold_address(p->virtual),
		.front = FRONT_NUMBER(front),
		.client_port = p->client_port,
		.protocol = p->protocol,
		.flags = p->flags,
		.wide = 1,
		.is_error = is_error,
	};
	return GO_ON;
}

/* Read a packet. With `marked` it need not have a front. */
static __always_inline enum exit_reason read_slow6(void *data, void *end, __u32 length, __u32 ingress, __u32 joined,
						   int marked, struct flow *flow, __u32 *dest)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	struct packet6 packet = { .ethernet = data };
	enum exit_reason reason;
	enum kind kind;

	if ((void *)(ip + 1) > end)
		return EXIT_MALFORMED;
	kind = kind6_of(ip, end);
	if (kind == LATER_FRAGMENT)
		reason = find_later_fragment6(ip, end, length, dest);
	else if (kind == ERROR)
		reason = parse_error6(&packet, ip, end, length);
	else if (kind == WHOLE)
		reason = parse6(&packet, data, end, length, joined);
	else
		reason = parse_first_fragment6(&packet, ip, end, length);
	if (reason == GO_ON && kind != LATER_FRAGMENT)
		reason = describe_flow6(&packet, flow, kind == ERROR, marked);
	return reason == GO_ON && !addressed_to_us(data, ingress) ? EXIT_OTHER_HOST : reason;
}

static __always_inline enum action finish_slow6(void *data, void *end, __u32 length, __u32 ingress, __u32 joined,
						enum exit_reason reason, __u32 dest, __u32 *out)
{
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	struct fragment_header *fragment = (void *)(ip + 1);
	struct packet6 packet = { .ethernet = data, .ip = ip };
	enum action action;
	enum kind kind;

	if ((void *)(ip + 1) > end)
		return PASS;
	packet.length = length6_of(ip, length, joined);
	packet.headers = sizeof(*ip) + TCP_HEADER;
	kind = kind6_of(ip, end);
	if (kind == FIRST_FRAGMENT && (reason == GO_ON || reason == EXIT_NO_DESTINATION) &&
	    (void *)(fragment + 1) <= end)
		remember_fragments(fragment6_key_of(ip, fragment->identification), dest);
	if (reason == GO_ON)
		reason = forward6(&packet, dest, ingress, joined, out);
	if (reason == GO_ON)
		return SEND;
	action = exit_action6(reason, out);
	/* Never reply to an error, or to a packet without ports. */
	return action == REPLY6 && (kind == ERROR || kind == LATER_FRAGMENT) ? DROP : action;
}

#endif
