/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Tunnels: the packet, with its TTL decremented, becomes the payload of a packet from this host to the server, as in
 * ip_vs_tunnel_xmit() (ip_vs_xmit.c): directly (IPIP), behind UDP and GUE, or behind GRE. The outer header takes TTL,
 * type of service and DF from the inner one.
 */
#ifndef POINTSMAN_XMIT_TUNNEL_H
#define POINTSMAN_XMIT_TUNNEL_H

#include "xmit_dr.h"
#include "xmit_tunnel_sum.h"

#define GRE_CHECKSUM 0x8000
#define ECN_BITS 3
#define ECN_CAPABLE 2	      /* ECT(0) */
#define FIRST_FLOW_PORT 32768 /* net.ipv4.ip_local_port_range, from which udp_flow_src_port() takes its ports */
#define FLOW_PORTS (60999 - FIRST_FLOW_PORT)
#define DONT_FRAGMENT 0x4000

struct gue {
	__u8 length; /* version 0, data, no options */
	__u8 protocol;
	__u16 flags;
};

struct gre {
	__u16 flags;
	__u16 protocol;
	__u16 checksum; /* with GRE_CHECKSUM only */
	__u16 reserved;
};

/* The fields of the packet that the outer header needs. */
struct inner {
	__u32 flow; /* a hash */
	__u32 sum;  /* ones' complement of the whole packet; 0: no outer checksum */
	__u16 length;
	__u16 protocol; /* of the frame, network order */
	__u16 fragment; /* outer flags, network order */
	__u8 ttl;
	__u8 tos;
};

static __always_inline int is_gue(struct remote *remote)
{
	return (remote->tunnel & TUNNEL_KIND) == TUNNEL_GUE;
}

static __always_inline int is_gre(struct remote *remote)
{
	return (remote->tunnel & TUNNEL_KIND) == TUNNEL_GRE;
}

/* Bytes between the outer IP header and the packet. */
static __always_inline __u32 tunnel_header(struct remote *remote)
{
	if (is_gue(remote))
		return sizeof(struct udphdr) + sizeof(struct gue);
	if (is_gre(remote))
		return remote->tunnel & TUNNEL_CHECKSUM ? sizeof(struct gre) : sizeof(struct gre) / 2;
	return 0;
}

static __always_inline __u32 outer_room(struct remote *remote)
{
	return (remote->family == 6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + tunnel_header(remote);
}

/* As INET_ECN_encapsulate() (include/net/inet_ecn.h): CE inside becomes ECT(0) outside. */
static __always_inline __u8 outer_tos(__u8 tos)
{
	return (tos & ECN_BITS) == ECN_BITS ? (tos & ~ECN_BITS) | ECN_CAPABLE : tos;
}

static __always_inline __u32 flow_of(__u32 addresses, __u8 protocol, void *ports, void *end)
{
	__u64 flow = addresses;

	if (is_balanced(protocol) && ports + 4 <= end)
		flow |= (__u64) * (__u32 *)ports << 32;
	return flow * FRONT_HASH >> 32;
}

static __always_inline void read_inner4(struct iphdr *ip, void *end, struct inner *inner)
{
	int whole = !(ip->frag_off & bpf_htons(FRAGMENT_BITS)) && ip->ihl == 5;

	decrement_ttl(ip);
	inner->length = bpf_ntohs(ip->tot_len);
	inner->fragment = ip->frag_off & bpf_htons(DONT_FRAGMENT);
	inner->ttl = ip->ttl;
	inner->tos = outer_tos(ip->tos);
	inner->flow = flow_of(ip->saddr ^ ip->daddr, whole ? ip->protocol : 0, ip + 1, end);
}

static __always_inline void read_inner6(struct ipv6hdr *ip, void *end, struct inner *inner)
{
	__u32 *words = (void *)ip;

	ip->hop_limit--;
	inner->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	inner->fragment = 0;
	inner->ttl = ip->hop_limit;
	inner->tos = outer_tos(bpf_ntohl(words[0]) >> 20);
	inner->flow = flow_of(words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7] ^ words[8] ^ words[9],
			      ip->nexthdr, ip + 1, end);
}

/* Read the packet and decrement its TTL. Returns -1 for a packet that parse() rejects. */
static __always_inline int read_inner(void *data, void *end, struct inner *inner)
{
	struct ethhdr *ethernet = data;
	void *ip = ethernet + 1;

	if (ip + sizeof(struct iphdr) > end)
		return -1;
	inner->protocol = ethernet->h_proto;
	if (inner->protocol == bpf_htons(ETH_P_IP)) {
		read_inner4(ip, end, inner);
		return 0;
	}
	if (ip + sizeof(struct ipv6hdr) > end)
		return -1;
	read_inner6(ip, end, inner);
	return 0;
}

static __always_inline __u16 complete(__u64 sum)
{
	return ~fold(sum);
}

/* `pseudo` is the sum of the outer addresses. */
static __always_inline void write_gue(struct udphdr *udp, struct remote *remote, struct inner *inner, __u8 protocol,
				      __u64 pseudo)
{
	__u16 length = sizeof(*udp) + sizeof(struct gue) + inner->length;
	struct gue *gue = (void *)(udp + 1);

	udp->source = bpf_htons(FIRST_FLOW_PORT + ((__u64)inner->flow * FLOW_PORTS >> 32));
	udp->dest = remote->tunnel_port;
	udp->len = bpf_htons(length);
	udp->check = 0;
	*gue = (struct gue){ .protocol = protocol };
	if (inner->sum) {
		__u32 *words = (void *)udp;
		__u16 check = complete(pseudo + bpf_htons(IPPROTO_UDP) + udp->len + words[0] + words[1] + words[2] +
				       inner->sum);

		udp->check = check ? check : 0xffff;
	}
}

static __always_inline void write_gre(struct gre *gre, struct remote *remote, struct inner *inner)
{
	gre->flags = 0;
	gre->protocol = inner->protocol;
	if (remote->tunnel & TUNNEL_CHECKSUM) {
		gre->flags = bpf_htons(GRE_CHECKSUM);
		gre->checksum = complete((__u64)gre->flags + gre->protocol + inner->sum);
		gre->reserved = 0;
	}
}

/* Write the headers between the two IP headers. Returns the protocol of the outer one. */
static __always_inline __u8 write_between(void *header, struct remote *remote, struct inner *inner, __u64 pseudo)
{
	__u8 protocol = inner->protocol == bpf_htons(ETH_P_IP) ? IPPROTO_IPIP : IPPROTO_IPV6;

	if (is_gue(remote)) {
		write_gue(header, remote, inner, protocol, pseudo);
		return IPPROTO_UDP;
	}
	if (is_gre(remote)) {
		write_gre(header, remote, inner);
		return IPPROTO_GRE;
	}
	return protocol;
}

#define LONGEST_TUNNEL_HEADER (sizeof(struct udphdr) + sizeof(struct gue))

static __always_inline int write_outer4(struct iphdr *ip, void *end, struct remote *remote, struct inner *inner)
{
	__u32 source = *(__u32 *)remote->source, target = *(__u32 *)remote->address;

	if ((void *)(ip + 1) + LONGEST_TUNNEL_HEADER > end)
		return -1;
	*(__u16 *)ip = bpf_htons(0x4500 | inner->tos);
	ip->tot_len = bpf_htons(outer_room(remote) + inner->length);
	/* A packet that may be fragmented needs an identification. */
	ip->id = inner->fragment ? 0 : bpf_get_prandom_u32();
	ip->frag_off = inner->fragment;
	ip->ttl = inner->ttl;
	ip->protocol = write_between(ip + 1, remote, inner, (__u64)source + target);
	ip->saddr = source;
	ip->daddr = target;
	ip->check = 0;
	ip->check = complete(sum_header(ip));
	return 0;
}

static __always_inline int write_outer6(struct ipv6hdr *ip, void *end, struct remote *remote, struct inner *inner)
{
	__u32 *words = (void *)ip, *source = (void *)remote->source, *target = (void *)remote->address;
	__u64 pseudo = 0;

	if ((void *)(ip + 1) + LONGEST_TUNNEL_HEADER > end)
		return -1;
	for (int i = 0; i < 4; i++) {
		words[2 + i] = source[i];
		words[6 + i] = target[i];
		pseudo += (__u64)source[i] + target[i];
	}
	words[0] = bpf_htonl(6 << 28 | inner->tos << 20);
	ip->payload_len = bpf_htons(tunnel_header(remote) + inner->length);
	ip->nexthdr = write_between(ip + 1, remote, inner, pseudo);
	ip->hop_limit = inner->ttl;
	return 0;
}

/* Write all outer headers into the room before the packet. Returns 0, or -1. */
static __always_inline int write_outer(void *data, void *end, struct dest *dest, struct remote *remote,
				       struct inner *inner)
{
	struct ethhdr *ethernet = data;

	if ((void *)(ethernet + 1) > end)
		return -1;
	*(__u64 *)ethernet = *(volatile __u64 *)&dest->frame;
	*(__u32 *)((void *)ethernet + 8) = *(volatile __u64 *)&dest->egress;
	if (remote->family == 6) {
		ethernet->h_proto = bpf_htons(ETH_P_IPV6);
		return write_outer6((void *)(ethernet + 1), end, remote, inner);
	}
	ethernet->h_proto = bpf_htons(ETH_P_IP);
	return write_outer4((void *)(ethernet + 1), end, remote, inner);
}

/* Count a packet that cannot be put into its tunnel, and drop it. */
static __always_inline int not_tunnelled(void)
{
	count_exit(EXIT_NOT_TUNNELLED);
	return 0;
}

/* Write the outer headers. Returns the interface by which the packet leaves; 0: it is dropped. */
static __always_inline int leave_in_tunnel(void *data, void *end, struct dest *dest, struct remote *remote,
					   struct inner *inner)
{
	if (write_outer(data, end, dest, remote, inner))
		return not_tunnelled();
	return DEST_INTERFACE(*(volatile __u64 *)&dest->egress);
}

static __always_inline int has_outer_checksum(struct remote *remote)
{
	return remote->tunnel & TUNNEL_CHECKSUM;
}

/* These two return as leave_in_tunnel(). */
__noinline int tunnel_xdp(struct xdp_md *context, __u32 index)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct remote *remote = bpf_map_lookup_elem(&pm_remotes, &index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);
	struct inner inner = {};

	if (!remote || !dest || read_inner(data, end, &inner))
		return not_tunnelled();
	if (has_outer_checksum(remote) && !(inner.sum = sum_packet_xdp(context, inner.length)))
		return not_tunnelled();
	if (bpf_xdp_adjust_head(context, -(int)outer_room(remote)))
		return not_tunnelled();
	return leave_in_tunnel((void *)(long)context->data, (void *)(long)context->data_end, dest, remote, &inner);
}

static __always_inline __u64 room_flags(struct remote *remote)
{
	__u64 flags = remote->family == 6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;

	if (is_gue(remote))
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	if (is_gre(remote))
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	return flags | BPF_F_ADJ_ROOM_FIXED_GSO;
}

__noinline int tunnel_tc(struct __sk_buff *context, __u32 index)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct remote *remote = bpf_map_lookup_elem(&pm_remotes, &index);
	struct dest *dest = bpf_map_lookup_elem(&pm_dests, &index);
	struct inner inner = {};

	if (!remote || !dest || read_inner(data, end, &inner))
		return not_tunnelled();
	if (has_outer_checksum(remote)) {
		/* Joined segments would need one sum each. UDP works without. */
		if (!context->gso_size)
			inner.sum = sum_packet_tc(context, inner.length);
		if (!inner.sum && !(context->gso_size && is_gue(remote)))
			return not_tunnelled();
	}
	if (bpf_skb_adjust_room(context, outer_room(remote), BPF_ADJ_ROOM_MAC, room_flags(remote)))
		return not_tunnelled();
	return leave_in_tunnel((void *)(long)context->data, (void *)(long)context->data_end, dest, remote, &inner);
}

#endif
