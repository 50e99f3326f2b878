/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The maps (README.md lists them). The sizes here are defaults; user space sets them before loading. */
#ifndef POINTSMAN_MAPS_H
#define POINTSMAN_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* An array is looked up without a helper call. An mmapable array starts on a page, so a bucket is one cache line. */
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
TABLE(pm_unanswered, struct unanswered, 131072);
TABLE(pm_blocks, struct block, 16384);
TABLE(pm_connections, struct connection_bucket, 1 << 19);
TABLE(pm_connections6, struct connection6_bucket, 1 << 17);
TABLE(pm_templates, struct template_bucket, 1 << 14);
/* Offsets of the counters: user space subtracts them after ipvsadm -Z, and adds those of deleted servers. */
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

/* Key: the mark, for IPv6 with 1 << 32. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct mark);
} pm_marks SEC(".maps");

/* Interfaces to which XDP redirects. A packet that leaves by the interface it came in by needs none. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} pm_tx_devices SEC(".maps");

TABLE(pm_front_names, struct front_name, 65536);

/* The servers in force and those deleted lately, by service, address and port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct dest_name);
	__type(value, __u32);
} pm_dest_names SEC(".maps");

/* Rings of records, one for each CPU, from CPU * (limits.outbox_mask + 1) on. */
TABLE(pm_outbox, struct record, 8192);

struct outbox_head {
	__u64 written; /* records that this CPU has written so far */
	__u64 spare[7];
};

TABLE(pm_outbox_heads, struct outbox_head, 1);
TABLE(pm_exchange, struct record, LANES *LANE_RECORDS);
TABLE(pm_taken, __u64, LANES *TAKE_RESULTS); /* counts of enum take_result by lane, set to 0 by user space */

struct alarm {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} pm_alarms SEC(".maps");

/* A fragmented packet. An IPv4 address is in the first word. */
struct fragment_key {
	__u32 source[4];
	__u32 target[4];
	__u32 identification;
	__u32 protocol;
};

/* The server of the first fragment. */
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

/* Limits of replies (icmp_reply.h): the first for all clients, the others by client. */
TABLE(pm_quotas, __u64, QUOTAS);

struct control control SEC(".data.pm_ctl");

/* Global data and not a map that is looked up: its address is in the program, and every packet reads it. */
__u64 local_macs[LOCAL_MACS] SEC(".data.pm_macs");

/*
 * Return 0, whose value the verifier does not know. Before Linux 6.7 it verifies the body of a bpf_loop() once, and
 * removes branches that are impossible with the values from before the loop. So what the body changes and then
 * compares must start unknown.
 */
static __always_inline __u32 opaque_zero(void)
{
	return *(volatile __u32 *)&control.spare;
}

const volatile struct vocabulary vocabulary = {};

const volatile struct limits limits SEC(".rodata.pm_lim") = {
	16383, 1 << 19, 1 << 14, 16383, 1 << 17, 8191,
};

/* Map a hash to any number of buckets without a division. */
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
