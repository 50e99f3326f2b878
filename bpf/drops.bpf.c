// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Record where and why the kernel drops packets of one service: tracepoint skb:kfree_skb, for `pointsman trace`.
 * Loaded only while a trace runs.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAX_DROPS 256
#define CONSUMED 1 /* SKB_CONSUMED: not a drop */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The fields of kernel structs that are read here; libbpf takes the offsets from the BTF of the kernel. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	possible_net_t nd_net;
};
struct sock_common {
	possible_net_t skc_net;
};
struct sock {
	struct sock_common __sk_common;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	int skb_iif;
	__u16 network_header;
	unsigned char *head;
};
#pragma clang attribute pop

/* struct limits of this object; an IPv4 address in the first four bytes; the port in network order. */
struct {
	__u8 address[16];
	__u16 port;
	__u8 protocol, version;
} const volatile limits SEC(".rodata.pm_lim");

struct drop {
	__u64 location;	 /* the kernel function that dropped the packet */
	__u32 reason;	 /* enum skb_drop_reason */
	__u32 netns;	 /* inode number of the network namespace; 0: not known */
	__u32 interface; /* index of the ingress interface; 0: sent by this host */
	__u8 source[16], destination[16];
	__u16 source_port, destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_DROPS);
	__uint(value_size, sizeof(struct drop));
} pm_drops SEC(".maps");

struct ports {
	__u16 source, destination;
};

struct ipv4 {
	__u8 length : 4, version : 4;
	__u8 service;
	__u16 total, identification, fragment;
	__u8 ttl, protocol;
	__u16 checksum;
	__u8 source[4], destination[4];
};

struct ipv6 {
	__u8 priority : 4, version : 4;
	__u8 flow[3];
	__u16 length;
	__u8 protocol, hops;
	__u8 source[16], destination[16];
};

/* Read addresses and ports of the packet at `start`. Returns 0 if it is of another protocol. */
static __always_inline int read_packet(const unsigned char *start, struct drop *drop)
{
	union {
		struct ipv4 four;
		struct ipv6 six;
	} ip;
	struct ports ports;
	__u32 length = sizeof(ip.six);

	if (limits.version == 4) {
		if (bpf_probe_read_kernel(&ip.four, sizeof(ip.four), start) < 0 || ip.four.version != 4 ||
		    ip.four.protocol != limits.protocol)
			return 0;
		__builtin_memcpy(drop->source, ip.four.source, 4);
		__builtin_memcpy(drop->destination, ip.four.destination, 4);
		length = ip.four.length * 4;
	} else {
		if (bpf_probe_read_kernel(&ip.six, sizeof(ip.six), start) < 0 || ip.six.version != 6 ||
		    ip.six.protocol != limits.protocol)
			return 0;
		__builtin_memcpy(drop->source, ip.six.source, 16);
		__builtin_memcpy(drop->destination, ip.six.destination, 16);
	}
	if (bpf_probe_read_kernel(&ports, sizeof(ports), start + length) < 0)
		return 0;
	drop->source_port = ports.source;
	drop->destination_port = ports.destination;
	return 1;
}

static __always_inline int is_virtual(const __u8 *address)
{
	for (int i = 0; i < 16; i++)
		if (address[i] != limits.address[i])
			return 0;
	return 1;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(note_drop, struct sk_buff *skb, void *location, __u32 reason)
{
	struct drop drop = {};

	if (reason <= CONSUMED || !read_packet(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header), &drop))
		return 0;
	if (!(drop.destination_port == limits.port && is_virtual(drop.destination)) &&
	    !(drop.source_port == limits.port && is_virtual(drop.source)))
		return 0;

	/* A packet of this host has a socket before it has an interface. */
	struct net_device *device = BPF_CORE_READ(skb, dev);
	struct sock *socket = BPF_CORE_READ(skb, sk);

	drop.location = (__u64)location;
	drop.reason = reason;
	drop.netns = device   ? BPF_CORE_READ(device, nd_net.net, ns.inum)
		     : socket ? BPF_CORE_READ(socket, __sk_common.skc_net.net, ns.inum)
			      : 0;
	drop.interface = BPF_CORE_READ(skb, skb_iif);
	bpf_map_push_elem(&pm_drops, &drop, 0);
	return 0;
}
