/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Parse an IPv6 frame, including its extension headers. */
#ifndef POINTSMAN_PARSE6_H
#define POINTSMAN_PARSE6_H

#include <linux/ipv6.h>

#include "parse.h"

#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define AUTHENTICATION 51
#define DESTINATION_OPTIONS 60
#define MAX_EXTENSIONS 6
#define LONGEST_EXTENSIONS 256 /* bytes, all together */
#define FRAGMENT6_BITS 0xfff9  /* an offset, or more fragments */
#define FRAGMENT6_OFFSET 0xfff8

struct packet6 {
	struct ethhdr *ethernet;
	struct ipv6hdr *ip;
	__u64 client[2];
	__u64 virtual[2];
	__u16 client_port;
	__u16 virtual_port;
	__u32 length;  /* of the IP packet, host order */
	__u32 headers; /* of all headers, including the transport header */
	__u8 protocol;
	__u8 flags; /* TCP flags, or their equivalent (packet_flags.h) */
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__u16 place; /* offset, and the flag for more fragments */
	__u32 identification;
};

static __always_inline int is_extension(__u8 next)
{
	return next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION ||
	       next == DESTINATION_OPTIONS;
}

static __always_inline int is_transport(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/*
 * Find the transport header: *next becomes its protocol, *offset its distance from the IPv6 header. A fragment header
 * with none of `bits` set is of a whole packet (RFC 6946) and is skipped like any other.
 */
static __always_inline enum exit_reason skip_extensions(struct ipv6hdr *ip, void *end, __u16 bits, __u8 *next,
							__u32 *offset)
{
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(*next); i++) {
		__u8 *header = (void *)ip + *offset;
		__u32 units = 1;

		if ((void *)(header + 8) > end)
			return EXIT_MALFORMED;
		if (*next == FRAGMENT) {
			if (*(__u16 *)(header + 2) & bits)
				return EXIT_FRAGMENT;
		} else {
			units += header[1];
		}
		*offset += *next == AUTHENTICATION ? (units + 1) * 4 : units * 8;
		*next = header[0];
		if (*offset > sizeof(*ip) + LONGEST_EXTENSIONS)
			return EXIT_NOT_TRANSPORT;
	}
	return GO_ON;
}

static __always_inline enum exit_reason read_ports(struct packet6 *p, void *end, __u32 offset)
{
	struct udphdr *ports = (void *)p->ip + offset;

	if ((void *)(ports + 1) > end)
		return EXIT_MALFORMED;
	p->flags = FLAGS_UDP;
	p->headers = offset + sizeof(*ports);
	if (p->protocol == IPPROTO_TCP) {
		if (p->length < offset + TCP_HEADER || (void *)ports + TCP_HEADER > end)
			return EXIT_MALFORMED;
		p->flags = ((__u8 *)ports)[13] & FLAGS_SEEN;
		p->headers = offset + (((__u8 *)ports)[12] >> 4) * 4;
	} else if (p->length < offset + sizeof(*ports)) {
		return EXIT_MALFORMED;
	} else if (p->protocol == IPPROTO_SCTP) {
		p->flags = chunk_flags(ports, p->length - offset, end);
		if (!p->flags)
			return EXIT_MALFORMED;
	}
	p->client_port = ports->source;
	p->virtual_port = ports->dest;
	return GO_ON;
}

/* True for the unspecified address and for multicast addresses. */
static __always_inline int is_impossible_source(struct packet6 *p)
{
	return !(p->client[0] | p->client[1]) || (__u8)p->client[0] == 0xff;
}

/* Read eight bytes with one load; for fields of the packed header clang would use two. */
static __always_inline __u64 half_of(struct in6_addr *address, int half)
{
	return ((volatile __u64 *)address)[half];
}

/* As length_of(); see ipv6_gro_complete() in net/ipv6/ip6_offload.c. */
static __always_inline __u32 length6_of(struct ipv6hdr *ip, __u32 frame, __u32 joined)
{
	__u32 payload = bpf_ntohs(ip->payload_len);

	return payload || !joined ? payload + sizeof(*ip) : frame - sizeof(struct ethhdr);
}

/* Read lengths, addresses and ports. `offset` is the distance of the transport header from the IPv6 header. */
static __always_inline enum exit_reason read_fields(struct packet6 *p, void *end, __u32 offset, __u32 frame,
						    __u32 joined)
{
	struct ipv6hdr *ip = p->ip;

	p->length = length6_of(ip, frame, joined);
	p->client[0] = half_of(&ip->saddr, 0);
	p->client[1] = half_of(&ip->saddr, 1);
	if (ip->version != 6 || p->length + sizeof(*p->ethernet) > frame || is_impossible_source(p))
		return EXIT_MALFORMED;
	p->virtual[0] = half_of(&ip->daddr, 0);
	p->virtual[1] = half_of(&ip->daddr, 1);
	return read_ports(p, end, offset);
}

/*
 * Parse a frame. Returns GO_ON when the packet may belong to a service, else why not. `frame` is the length of the
 * whole frame. For TCP and UDP without extension headers every offset is a constant here.
 */
static __always_inline enum exit_reason parse6(struct packet6 *p, void *data, void *end, __u32 frame, __u32 joined)
{
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ip = (void *)(ethernet + 1);
	__u32 offset = sizeof(*ip);
	enum exit_reason reason;

	if ((void *)(ip + 1) > end || *(__u16 *)((void *)ethernet + 12) != bpf_htons(ETH_P_IPV6))
		return EXIT_NOT_IP;
	p->ethernet = ethernet;
	p->ip = ip;
	p->protocol = ip->nexthdr;
	if (is_transport(p->protocol))
		return read_fields(p, end, sizeof(*ip), frame, joined);
	reason = skip_extensions(ip, end, bpf_htons(FRAGMENT6_BITS), &p->protocol, &offset);
	if (reason != GO_ON)
		return reason;
	return is_balanced(p->protocol) ? read_fields(p, end, offset, frame, joined) : EXIT_NOT_TRANSPORT;
}

#endif
