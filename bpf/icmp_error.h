/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * ICMP errors about packets that a real server has sent, from virtual address and port to a client. Forward them to
 * that server: path MTU discovery needs them. IPVS: ip_vs_in_icmp().
 */
#ifndef POINTSMAN_ICMP_ERROR_H
#define POINTSMAN_ICMP_ERROR_H

#include "icmp_reply.h"
#include "parse.h"

static __always_inline int is_relayed(__u8 type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED;
}

/*
 * Return the length of an ICMP error whose checksum is to be verified here. 0: it is no ICMP error, or too long, and
 * the real server verifies it.
 */
static __always_inline __u32 error_length(void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct icmp *icmp;
	__u32 length;

	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_ICMP)
		return 0;
	icmp = (void *)ip + ip->ihl * 4;
	length = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
	if (length > MOST_SUMMED || (void *)(icmp + 1) > end || !is_relayed(icmp->type))
		return 0;
	return length;
}

static __always_inline __u32 error_place(void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);

	return (void *)(ip + 1) > end ? 0 : sizeof(struct ethhdr) + ip->ihl * 4;
}

/* True if this is an ICMP error with a wrong checksum. */
static __always_inline int is_damaged_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 length = error_length(data, end);

	return length && sum_xdp(context, error_place(data, end), length) != 0xffff;
}

static __always_inline int is_damaged_tc(struct __sk_buff *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 length = error_length(data, end);

	return length && sum_tc(context, error_place(data, end), length) != 0xffff;
}

/* Read the quoted packet, of `length` bytes, as if the client had sent it. */
static __always_inline enum exit_reason parse_quoted(struct packet *p, struct iphdr *quoted, __u32 length, void *end)
{
	struct udphdr *ports = (void *)quoted + quoted->ihl * 4;

	if (quoted->version != 4 || quoted->ihl < 5 || (void *)&ports->len > end || length < quoted->ihl * 4 + 4)
		return EXIT_NOT_TRANSPORT;
	if (!is_balanced(quoted->protocol) || quoted->frag_off & bpf_htons(FRAGMENT_OFFSET))
		return EXIT_NOT_TRANSPORT;
	p->client = quoted->daddr;
	p->virtual = quoted->saddr;
	p->client_port = ports->dest;
	p->virtual_port = ports->source;
	p->protocol = quoted->protocol;
	return GO_ON;
}

/* Read an ICMP error. Returns as parse(); EXIT_NOT_TRANSPORT when it is not an error to be forwarded. */
static __always_inline enum exit_reason parse_error(struct packet *p, struct iphdr *ip, void *end, __u32 frame)
{
	__u32 header = ip->ihl * 4;
	struct icmp *icmp = (void *)ip + header;
	struct iphdr *quoted = (void *)(icmp + 1);

	if (ip->protocol != IPPROTO_ICMP || ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return EXIT_NOT_TRANSPORT;
	if (ip->version != 4 || header < sizeof(*ip) || (void *)(quoted + 1) > end || !is_relayed(icmp->type))
		return EXIT_NOT_TRANSPORT;
	p->length = bpf_ntohs(ip->tot_len);
	if (p->length + sizeof(struct ethhdr) > frame || p->length < header + sizeof(*icmp) + sizeof(*quoted))
		return EXIT_MALFORMED;
	if (!is_header_sum_valid(ip, end))
		return EXIT_MALFORMED;
	p->ip = ip;
	return parse_quoted(p, quoted, p->length - header - sizeof(*icmp), end);
}

#endif
