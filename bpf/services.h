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
static __always_inline struct front *find_front(__u32 address, __u16 port, __u8 protocol)
{
	struct front *front = find_exact_front(address, port, protocol);

	if (!front && control.ftp && protocol == IPPROTO_TCP && may_be_ftp_data(port)) {
		front = find_exact_front(address, bpf_htons(FTP), IPPROTO_TCP);
		if (front && !(front->flags & FRONT_FTP))
			front = 0;
	}
	if (!front && control.any_port)
		front = find_exact_front(address, 0, protocol);
	return front;
}

/*
 * A front of IPv6 as a number: service, from bit 32 on the front's own number, and that there is one. The verifier would
 * follow all of what comes after once for each place in a bucket if it were a pointer.
 */
#define FRONT6_NUMBER(found) ((__u32)((found) >> 32) & 0xffff)
#define FRONT6_FTP (1ULL << 62)
#define FRONT6_FOUND (1ULL << 63)
#define FRONT6_ELSEWHERE 1ULL /* not in this bucket, which is full */

static __always_inline __u64 find_in_front6_bucket(__u32 hash, __u64 address, __u64 rest, __u64 key)
{
	__u32 index = hash & limits.front6_mask;
	struct front6_bucket *bucket = bpf_map_lookup_elem(&fronts6, &index);
	__u64 missing = FRONT6_ELSEWHERE;

	if (!bucket)
		return 0;
#pragma unroll
	for (int way = 0; way < WAYS; way++) {
		struct front6 *front = &bucket->way[way];

		if (front->key == key && front->address[0] == address && front->address[1] == rest)
			return front->service | (__u64)front->number << 32 | FRONT6_FOUND |
			       (front->flags & FRONT_FTP ? FRONT6_FTP : 0);
		if (!front->key)
			missing = 0;
	}
	return missing;
}

/* What is hashed of a front; connections take it, too, so that their hash need not wait for the front. */
static __always_inline __u64 front6_sum(__u64 address, __u64 rest, __u64 key)
{
	return address * FRONT_HASH + rest + key;
}

static __always_inline __u32 front6_hash(__u64 sum)
{
	return (sum * FRONT_HASH) >> 32;
}

static __always_inline __u64 front6_key(struct packet6 *p)
{
	return p->virtual_port | (__u32)p->protocol << 16 | 1ULL << 24;
}

static __always_inline __u64 find_exact_front6(__u64 address, __u64 rest, __u64 key)
{
	__u32 hash = front6_hash(front6_sum(address, rest, key));
	__u64 found = FRONT6_ELSEWHERE;

	for (int probe = 0; probe < FRONT_PROBES && found == FRONT6_ELSEWHERE; probe++)
		found = find_in_front6_bucket(hash + probe, address, rest, key);
	return found == FRONT6_ELSEWHERE ? 0 : found;
}

/* As find_front(), when it is not where it is looked for first. */
__noinline __u64 find_front6_elsewhere(__u64 address, __u64 rest, __u64 key)
{
	__u64 found = find_exact_front6(address, rest, key);

	if (!found && control.ftp && (key >> 16 & 0xff) == IPPROTO_TCP && may_be_ftp_data(key)) {
		found = find_exact_front6(address, rest, (key & ~0xffffULL) | bpf_htons(FTP));
		if (!(found & FRONT6_FTP))
			found = 0;
	}
	return !found && control.any_port ? find_exact_front6(address, rest, key & ~0xffffULL) : found;
}

static __always_inline __u64 find_front6(struct packet6 *p, __u64 sum)
{
	__u64 address = p->virtual[0], rest = p->virtual[1], key = front6_key(p);
	__u64 found = find_in_front6_bucket(front6_hash(sum), address, rest, key);

	return found & FRONT6_FOUND ? found : find_front6_elsewhere(address, rest, key);
}

#endif
