/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* From virtual address, port and protocol to the service. */
#ifndef POINTSMAN_SERVICES_H
#define POINTSMAN_SERVICES_H

#include "parse6.h"

static __always_inline struct front *find_exact_front(__u32 address, __u16 port, __u8 protocol)
{
	__u64 key = address | (__u64)port << 32 | (__u64)protocol << 48 | 1ULL << 56;
	__u32 hash = (key * FRONT_HASH) >> 32;

#pragma unroll
	for (int probe = 0; probe < FRONT_PROBES; probe++) {
		__u32 index = (hash + probe) & limits.front_mask;
		struct front_bucket *bucket = bpf_map_lookup_elem(&fronts, &index);
		int holes = 0;

		if (!bucket)
			return 0;
#pragma unroll
		for (int way = 0; way < WAYS; way++) {
			__u64 found = bucket->way[way].key;

			if (found == key)
				return &bucket->way[way];
			if (!found)
				holes = 1;
		}
		if (holes)
			return 0;
	}
	return 0;
}

/* May a connection to this port be one of FTP's data (ip_vs_service_find)? */
static __always_inline int may_be_ftp_data(__u16 port)
{
	return port == bpf_htons(FTP_DATA) || bpf_ntohs(port) >= FIRST_FREE_PORT;
}

/* The front for this very port, else persistent FTP's, else the one for every port of the address. */
static __always_inline struct front *find_front(struct packet *p)
{
	struct front *front = find_exact_front(p->virtual, p->virtual_port, p->protocol);

	if (!front && control.ftp && p->protocol == IPPROTO_TCP && may_be_ftp_data(p->virtual_port)) {
		front = find_exact_front(p->virtual, bpf_htons(FTP), IPPROTO_TCP);
		if (front && !(front->flags & FRONT_FTP))
			front = 0;
	}
	if (!front && control.any_port)
		front = find_exact_front(p->virtual, 0, p->protocol);
	return front;
}

#define FRONT6_NUMBER(found) ((__u32)((found) >> 32) & 0xffff)
#define FRONT6_FTP (1ULL << 62)
#define FRONT6_FOUND (1ULL << 63) /* beside the service and, from bit 32 on, the front's number */

static __always_inline __u64 find_exact_front6(__u64 address, __u64 rest, __u64 key)
{
	__u32 hash = ((address * FRONT_HASH + rest + key) * FRONT_HASH) >> 32;

	for (int probe = 0; probe < FRONT_PROBES; probe++) {
		__u32 index = (hash + probe) & limits.front6_mask;
		struct front6_bucket *bucket = bpf_map_lookup_elem(&fronts6, &index);
		int holes = 0;

		if (!bucket)
			return 0;
#pragma unroll
		for (int way = 0; way < WAYS; way++) {
			struct front6 *front = &bucket->way[way];

			if (front->key == key && front->address[0] == address && front->address[1] == rest)
				return front->service | (__u64)front->number << 32 | FRONT6_FOUND |
				       (front->flags & FRONT_FTP ? FRONT6_FTP : 0);
			if (!front->key)
				holes = 1;
		}
		if (holes)
			return 0;
	}
	return 0;
}

/*
 * As find_front(). A function of its own, and one that returns a number: the verifier would follow all of what comes
 * after it once for each place in a bucket.
 */
__noinline __u64 find_front6(__u64 address, __u64 rest, __u32 port_and_protocol)
{
	__u64 key = port_and_protocol | 1ULL << 24;
	__u64 found = find_exact_front6(address, rest, key);

	if (!found && control.ftp && (key >> 16 & 0xff) == IPPROTO_TCP && may_be_ftp_data(key)) {
		found = find_exact_front6(address, rest, (key & ~0xffffULL) | bpf_htons(FTP));
		if (!(found & FRONT6_FTP))
			found = 0;
	}
	return !found && control.any_port ? find_exact_front6(address, rest, key & ~0xffffULL) : found;
}

#endif
