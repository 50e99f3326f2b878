/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Parse a frame: the fields that later steps need. */
#ifndef POINTSMAN_PARSE_H
#define POINTSMAN_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include "maps.h"
#include "packet_flags.h"

#define TCP_HEADER 20
#define FRAGMENT_BITS 0x3fff /* more fragments, or an offset */
#define FRAGMENT_OFFSET 0x1fff
#define FTP_DATA 20
#define FTP 21
#define VLAN_NUMBER 0x0fff   /* of a tag; 0: the tag has a priority only */
#define FIRST_FREE_PORT 1024 /* net.ipv4.ip_unprivileged_port_start */

/* The kind of a packet: an ICMP error (or another protocol), whole, or a fragment. */
enum kind { ERROR, WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };

struct packet {
	struct ethhdr *ethernet;
	struct iphdr *ip;
	__u32 client;
	__u32 virtual;
	__u16 client_port;
	__u16 virtual_port;
	__u32 length;		/* of the IP packet, host order */
	__u16 transport_header; /* its length */
	__u8 protocol;
	__u8 flags;    /* TCP flags, or their equivalent (packet_flags.h) */
	void *context; /* of XDP or tc: fields are read when needed, so that they take no stack */
	__u8 tc;
	__u32 ingress; /* interface, without a context */
	__u32 joined;  /* bytes in each segment that offload has joined; 0: not joined, or not known */
};

/*
 * Sum the options of a header. The loop uses a second reading of the length: else the verifier would follow the rest
 * of the program once for each length.
 */
static __always_inline __u64 sum_options(struct iphdr *ip, void *end)
{
	__u32 *word = (void *)ip, words = *(volatile __u8 *)ip & 15;
	__u64 sum = 0;

	for (__u32 i = 5; i < 15; i++) {
		void *next = word + i + 1;

		barrier_var(next); /* else clang compares with end + 1, which the verifier refuses */
		sum += i < words && next <= end ? word[i] : 0;
	}
	return sum;
}

/* Sum a header without its options. */
static __always_inline __u64 sum_header(struct iphdr *ip)
{
	__u32 *word = (void *)ip;

	return (__u64)word[0] + word[1] + word[2] + word[3] + word[4];
}

/*
 * True if the ones' complement sum over a header is all ones (RFC 1071), that is, a multiple of 65535. The factor is
 * the inverse of 65535 modulo 2^64. A sum has 36 bits, so a multiple becomes its small quotient, and any other sum a
 * large number.
 */
static __always_inline int is_sum_valid(__u64 sum)
{
	return sum * 0xfffefffefffeffffULL < 1 << 24;
}

static __always_inline int is_header_sum_valid(struct iphdr *ip, void *end)
{
	__u64 sum = sum_header(ip);

	if (ip->ihl > 5)
		sum += sum_options(ip, end);
	return is_sum_valid(sum);
}

static __always_inline int is_balanced(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static __always_inline enum kind kind_of(struct iphdr *ip)
{
	if (!is_balanced(ip->protocol))
		return ERROR;
	if (!(ip->frag_off & bpf_htons(FRAGMENT_BITS)))
		return WHOLE;
	return ip->frag_off & bpf_htons(FRAGMENT_OFFSET) ? LATER_FRAGMENT : FIRST_FRAGMENT;
}

/*
 * Return the length of a packet. A packet of more than 65535 bytes, which offload has joined (BIG TCP), has 0 in its
 * header (iph_totlen() in include/linux/ip.h).
 */
static __always_inline __u32 length_of(struct iphdr *ip, __u32 frame, __u32 joined)
{
	__u32 length = bpf_ntohs(ip->tot_len);

	return length || !joined ? length : frame - sizeof(struct ethhdr);
}

/* Parse a whole packet or a first fragment, with or without IP options. Returns as parse(). */
static __always_inline enum exit_reason parse_rest(struct packet *p, struct iphdr *ip, void *end, __u32 frame)
{
	__u32 header = ip->ihl * 4;
	struct udphdr *ports = (void *)ip + header;

	if (ip->version != 4 || header < sizeof(*ip) || (void *)(ports + 1) > end)
		return EXIT_MALFORMED;
	p->length = length_of(ip, frame, p->joined);
	if (p->length + sizeof(struct ethhdr) > frame)
		return EXIT_MALFORMED;
	p->flags = FLAGS_UDP;
	p->transport_header = sizeof(*ports);
	if (ip->protocol == IPPROTO_TCP) {
		if (p->length < header + TCP_HEADER || (void *)ports + TCP_HEADER > end)
			return EXIT_MALFORMED;
		p->flags = ((__u8 *)ports)[13] & FLAGS_SEEN;
		p->transport_header = (((__u8 *)ports)[12] >> 4) * 4;
	} else if (p->length < header + sizeof(*ports)) {
		return EXIT_MALFORMED;
	} else if (ip->protocol == IPPROTO_SCTP) {
		p->flags = chunk_flags(ports, p->length - header, end);
		if (!p->flags)
			return EXIT_MALFORMED;
	}
	if (!is_header_sum_valid(ip, end) || !ip->saddr)
		return EXIT_MALFORMED;
	p->ip = ip;
	p->client = ip->saddr;
	p->virtual = ip->daddr;
	p->client_port = ports->source;
	p->virtual_port = ports->dest;
	p->protocol = ip->protocol;
	return GO_ON;
}

/* The first byte of a header without options. */
#define PLAIN_HEADER 0x45

/*
 * Parse a whole TCP or UDP packet without IP options. Returns GO_ON when the packet may belong to a service, else why
 * not. `frame` is the length of the whole frame.
 *
 * With EXIT_NOT_TRANSPORT the packet takes the slow path: SCTP, ICMP errors, fragments, IP options. For all other
 * packets every offset is a constant here.
 */
static __always_inline enum exit_reason parse(struct packet *p, void *data, void *end, __u32 frame)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *ports = (void *)(ip + 1);
	__u32 shortest = sizeof(*ip) + TCP_HEADER;

	if ((void *)ports > end || *(__u16 *)((void *)ethernet + 12) != bpf_htons(ETH_P_IP))
		return EXIT_NOT_IP;
	p->protocol = ip->protocol;
	if (*(__u8 *)ip != PLAIN_HEADER || ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return EXIT_NOT_TRANSPORT;
	p->length = bpf_ntohs(ip->tot_len);
	if (p->protocol == IPPROTO_TCP) {
		if ((void *)ports + TCP_HEADER > end)
			return EXIT_MALFORMED;
		p->flags = ((__u8 *)ports)[13] & FLAGS_SEEN;
		p->transport_header = (((__u8 *)ports)[12] >> 4) * 4;
	} else if (p->protocol == IPPROTO_UDP) {
		if ((void *)(ports + 1) > end)
			return EXIT_MALFORMED;
		shortest = sizeof(*ip) + sizeof(*ports);
		p->flags = FLAGS_UDP;
		p->transport_header = sizeof(*ports);
	} else {
		return EXIT_NOT_TRANSPORT;
	}
	p->client = ip->saddr;
	p->virtual = ip->daddr;
	if (p->length < shortest || p->length + sizeof(*ethernet) > frame || !is_sum_valid(sum_header(ip)) ||
	    !p->client)
		return EXIT_MALFORMED;
	p->ethernet = ethernet;
	p->ip = ip;
	p->client_port = ports->source;
	p->virtual_port = ports->dest;
	return GO_ON;
}

static __always_inline __u32 ingress_of(struct packet *p)
{
	if (!p->context)
		return p->ingress;
	return p->tc ? *(volatile __u32 *)&((struct __sk_buff *)p->context)->ingress_ifindex
		     : *(volatile __u32 *)&((struct xdp_md *)p->context)->ingress_ifindex;
}

static __always_inline __u32 joined_of(struct packet *p)
{
	return p->context && p->tc ? *(volatile __u32 *)&((struct __sk_buff *)p->context)->gso_size : p->joined;
}

/* True if the frame is addressed to this interface. Flooded frames, and frames seen in promiscuous mode, are not. */
static __always_inline int addressed_to_us(struct ethhdr *ethernet, __u32 ingress)
{
	__u64 host = *(volatile __u64 *)&local_macs[ingress % LOCAL_MACS];
	__u64 mac = *(__u64 *)ethernet &
		    ((1ULL << 48) - 1); /* one load; clang reads fields of packed structs byte by byte */

	if (!host)
		return !(mac & 1);
	mac |= (__u64)ingress << 48;
	return host == mac || bpf_map_lookup_elem(&pm_virtual_macs, &mac);
}

#endif
