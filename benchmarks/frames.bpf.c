// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Write a new frame of some flow for every run of the program under test, because BPF_PROG_TEST_RUN does not restore
 * the frame that the last run has changed. Also two programs to compare with: one does nothing, the other only parses,
 * decrements the TTL and writes two MAC addresses.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct settings {
	__u32 flows;
	__u32 counter;
	__u32 sequential; /* flows one after the other, else at random */
	__u32 flags;	  /* TCP flags */
	__u32 vip;	  /* network order */
	__u32 port_bits;  /* number of bits in which the ports of one address differ */
	__u32 udp;	  /* datagrams without content, else TCP segments */
	__u32 ipv6;	  /* for user space, which then runs prepare6 */
};

struct settings settings SEC(".data.settings");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

static __always_inline __u32 next_flow(void)
{
	__u32 number = settings.counter++;

	if (settings.sequential)
		return number < settings.flows ? number : number % settings.flows;
	number = (number ^ number >> 16) * 0x7feb352d;
	number = (number ^ number >> 15) * 0x846ca68b;
	return ((__u64)(number ^ number >> 16) * settings.flows) >> 32;
}

static __always_inline __u16 header_checksum(struct iphdr *ip)
{
	__u16 *word = (void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

SEC("xdp")
int prepare(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 flow = next_flow();

	if ((void *)(tcp + 1) > end)
		return XDP_ABORTED;
	*(__u64 *)ethernet = 0x0002020000000002ULL;
	*(__u32 *)((void *)ethernet + 8) = 0x01000000;
	ethernet->h_proto = bpf_htons(ETH_P_IP);
	*(__u32 *)ip = bpf_htonl(0x45000028);
	*((__u32 *)ip + 1) = bpf_htonl(0x00014000);
	*((__u32 *)ip + 2) = bpf_htonl(settings.udp ? 0x40110000 : 0x40060000);
	ip->saddr = bpf_htonl(0x0a000001 + (flow >> settings.port_bits));
	ip->daddr = settings.vip;
	ip->check = header_checksum(ip);
	tcp->source = bpf_htons(1024 + (flow & ((1 << settings.port_bits) - 1)));
	tcp->dest = bpf_htons(80);
	tcp->seq = settings.udp ? bpf_htonl(0x00140000) : 0; /* a datagram's length and checksum lie here */
	tcp->ack_seq = 0;
	*((__u32 *)tcp + 3) = bpf_htonl(0x50000000 | settings.flags << 16 | 0xffff);
	*((__u32 *)tcp + 4) = 0;
	bpf_ktime_get_ns(); /* its fence lets the target start with an empty pipeline, so that costs add up */
	bpf_tail_call(context, &target, 0);
	return XDP_ABORTED;
}

/* The same frames over IPv6: fd00::<flow> to fd00:100::9. */
SEC("xdp")
int prepare6(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ip = (void *)(ethernet + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 flow = next_flow();

	if ((void *)(tcp + 1) > end)
		return XDP_ABORTED;
	*(__u64 *)ethernet = 0x0002020000000002ULL;
	*(__u32 *)((void *)ethernet + 8) = 0x01000000;
	ethernet->h_proto = bpf_htons(ETH_P_IPV6);
	*(__u32 *)ip = bpf_htonl(0x60000000);
	*((__u32 *)ip + 1) = bpf_htonl(0x00140640);
	ip->saddr.s6_addr32[0] = bpf_htonl(0xfd000000);
	ip->saddr.s6_addr32[1] = 0;
	ip->saddr.s6_addr32[2] = 0;
	ip->saddr.s6_addr32[3] = bpf_htonl(1 + (flow >> settings.port_bits));
	ip->daddr.s6_addr32[0] = bpf_htonl(0xfd000100);
	ip->daddr.s6_addr32[1] = 0;
	ip->daddr.s6_addr32[2] = 0;
	ip->daddr.s6_addr32[3] = bpf_htonl(9);
	tcp->source = bpf_htons(1024 + (flow & ((1 << settings.port_bits) - 1)));
	tcp->dest = bpf_htons(80);
	tcp->seq = 0;
	tcp->ack_seq = 0;
	*((__u32 *)tcp + 3) = bpf_htonl(0x50000000 | settings.flags << 16 | 0xffff);
	*((__u32 *)tcp + 4) = 0;
	bpf_ktime_get_ns();
	bpf_tail_call(context, &target, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int empty(struct xdp_md *context)
{
	return XDP_TX;
}

SEC("xdp")
int floor_of(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_TCP || tcp->dest != bpf_htons(80))
		return XDP_PASS;
	*(__u64 *)ethernet = 0x02020b0000000002ULL;
	*(__u32 *)((void *)ethernet + 8) = 0x02000000;

	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
	return XDP_TX;
}

/* A connection table that is a map of the kernel, to compare with. It has no states. */
struct tuple {
	__u32 client;
	__u32 virtual;
	__u32 ports;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, struct tuple);
	__type(value, __u64);
} tuples SEC(".maps");

SEC("xdp")
int lru_of(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_TCP || tcp->dest != bpf_htons(80))
		return XDP_PASS;

	struct tuple tuple = { ip->saddr, ip->daddr, *(__u32 *)tcp };
	__u64 *mac = bpf_map_lookup_elem(&tuples, &tuple), chosen = 0x02020b0000000002ULL;

	if (!mac) {
		bpf_map_update_elem(&tuples, &tuple, &chosen, BPF_ANY);
		mac = &chosen;
	}
	*(__u64 *)ethernet = *mac;
	*(__u32 *)((void *)ethernet + 8) = 0x02000000;

	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
	return XDP_TX;
}
