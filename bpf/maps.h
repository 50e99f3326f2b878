/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The maps. Sizes given here are the defaults; user space sets them before loading. */
#ifndef POINTSMAN_MAPS_H
#define POINTSMAN_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* Plain arrays are looked up without a helper call; mmapable ones start on a page, so that a bucket is one line. */
#define TABLE(name, element, entries)                                                                                  \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(map_flags, BPF_F_MMAPABLE);                                                                     \
		__uint(max_entries, entries);                                                                          \
		__type(key, __u32);                                                                                    \
		__type(value, element);                                                                                \
	} name SEC(".maps")

TABLE(pm_fronts, struct front_bucket, 16384);
TABLE(pm_fronts6, struct front6_bucket, 16384);
TABLE(pm_services, struct service, 16384);
TABLE(pm_members, struct member, 1 << 20);
TABLE(pm_dests, struct dest, 131072);
TABLE(pm_remotes, struct remote, 131072);
TABLE(pm_loads, struct load, 131072);
TABLE(pm_blocks, struct block, 16384);
TABLE(pm_connections, struct connection_bucket, 1 << 19);
TABLE(pm_connections6, struct connection6_bucket, 1 << 17);
TABLE(pm_templates, struct template_bucket, 1 << 14);
/* What user space subtracts from `traffic` after ipvsadm -Z, and adds for servers that are gone. */
TABLE(pm_dest_origins, struct traffic, 131072);
TABLE(pm_svc_origins, struct traffic, 16384);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 131072);
	__type(key, __u32);
	__type(value, struct traffic);
} pm_traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EXITS);
	__type(key, __u32);
	__type(value, __u64);
} pm_exits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VIRTUAL_MACS);
	__type(key, __u64);
	__type(value, __u8);
} pm_virtual_macs SEC(".maps");

/* By mark, for IPv6 with 1 << 32. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct mark);
} pm_marks SEC(".maps");

/* Ways out other than the one a packet came in by. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} pm_tx_devices SEC(".maps");

struct alarm {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} pm_alarms SEC(".maps");

/* A packet in fragments; IPv4 addresses are in the first words. */
struct fragment_key {
	__u32 source[4];
	__u32 target[4];
	__u32 identification;
	__u32 protocol;
};

/* Where its first fragment went. */
struct fragment {
	__u32 dest;
	__u32 until;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} pm_fragments SEC(".maps");

#define QUOTAS 4096

/* When answers are free again (icmp_reply.h): to all, then by client. */
TABLE(pm_quotas, __u64, QUOTAS);

struct control control SEC(".data.pm_ctl");

/* Not a table: of global data the place is known to the program, which every packet asks. */
__u64 local_macs[LOCAL_MACS] SEC(".data.pm_macs");

/*
 * 0, but not to the verifier. Before Linux 6.7 it goes through the body of a bpf_loop() once only and removes the
 * branches that the values from before the loop rule out: what a body changes and then compares must start unknown.
 */
static __always_inline __u32 opaque_zero(void)
{
	return *(volatile __u32 *)&control.spare;
}

const volatile struct vocabulary vocabulary = {};

const volatile struct limits limits SEC(".rodata.pm_lim") = {
	16383, 1 << 19, 1 << 14, 16383, 1 << 17,
};

/* Of any number of buckets, without a division. */
static __always_inline __u32 bucket_of(__u32 hash, __u32 buckets)
{
	return (__u64)hash * buckets >> 32;
}

static __always_inline void count_exit(enum exit_reason reason)
{
	__u32 index = reason;
	__u64 *counter = bpf_map_lookup_elem(&pm_exits, &index);

	if (counter)
		*counter += 1;
}

#endif
