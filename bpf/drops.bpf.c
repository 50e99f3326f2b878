// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Where and why the kernel drops packets of one service: the tracepoint skb:kfree_skb, for `pointsman trace`.
 * Loaded only while a trace runs. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAX_DROPS 256
#define CONSUMED 1 /* SKB_CONSUMED: not a drop */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The parts of the kernel's structs that are read; the offsets come from its BTF. */
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
struct sk_buff {
	struct net_device *dev;
	int skb_iif;
	__u16 network_header;
	unsigned char *head;
};
#pragma clang attribute pop

/* struct limits of this object; addresses and ports in network order. */
struct {
	__u32 address;
	__u16 port;
} const volatile limits SEC(".rodata.limits");

struct drop {
	__u64 location; /* the function in the kernel that gave the packet up */
	__u32 reason;   /* enum skb_drop_reason */
	__u32 netns;    /* inode number of the network namespace; 0: not known */
	__u32 interface; /* index of the interface it came in by; 0: it was sent by this host */
	__u32 source, destination;
	__u16 source_port, destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_DROPS);
	__uint(value_size, sizeof(struct drop));
} drops SEC(".maps");

struct ports {
	__u16 source, destination;
};

struct header {
	__u8 length : 4, version : 4;
	__u8 service;
	__u16 total, identification, fragment;
	__u8 ttl, protocol;
	__u16 checksum;
	__u32 source, destination;
};

SEC("tp_btf/kfree_skb")
int BPF_PROG(note_drop, struct sk_buff *skb, void *location, __u32 reason)
{
	struct header ip;
	struct ports tcp;
	unsigned char *start = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);

	if (reason <= CONSUMED || bpf_probe_read_kernel(&ip, sizeof(ip), start) < 0)
		return 0;
	if (ip.version != 4 || ip.protocol != IPPROTO_TCP ||
	    bpf_probe_read_kernel(&tcp, sizeof(tcp), start + ip.length * 4) < 0)
		return 0;
	if (!(ip.destination == limits.address && tcp.destination == limits.port) &&
	    !(ip.source == limits.address && tcp.source == limits.port))
		return 0;

	struct net_device *device = BPF_CORE_READ(skb, dev);
	struct drop drop = {
		.location = (__u64)location,
		.reason = reason,
		.netns = device ? BPF_CORE_READ(device, nd_net.net, ns.inum) : 0,
		.interface = BPF_CORE_READ(skb, skb_iif),
		.source = ip.source,
		.destination = ip.destination,
		.source_port = tcp.source,
		.destination_port = tcp.destination,
	};

	bpf_map_push_elem(&drops, &drop, 0);
	return 0;
}
