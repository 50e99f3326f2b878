/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Find the service by virtual address, port and protocol. */
#ifndef POINTSMAN_SERVICES_H
#define POINTSMAN_SERVICES_H

#include "parse6.h"

/*
 * A found front is a number, the second half of its entry: service, then from bit 32 the number of the front, then
 * flags. If it were a pointer, the verifier would follow the rest of the program once for each way of a bucket.
 */
#define FRONT_SERVICE(found) ((__u32)(found))
#define FRONT_NUMBER(found) ((__u32)((found) >> 32) & 0xffff)
#define FRONT_FLAGS(found) ((__u32)((found) >> 48))
#define FRONT_NONE (~0ULL)	/* no front has the number NO_FRONT */
#define FRONT_ELSEWHERE (~1ULL) /* not in this bucket, and the bucket is full */

static __always_inline __u64 front_key(__u32 address, __u16 port, __u8 protocol)
{
	return address | (__u64)port << 32 | (__u64)(protocol | 1 << 8) << 48;
}

static __always_inline __u32 front_hash(__u64 key)
{
	return (key * FRONT_HASH) >> 32;
}

static __always_inline __u64 find_in_front_bucket(__u32 hash, __u64 key)
{
	__u32 index = hash & limits.front_mask;
	struct front_bucket *bucket = bpf_map_lookup_elem(&pm_fronts, &index);

	if (!bucket)
		return FRONT_NONE;
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		if (bucket->way[way].key == key)
			return *(__u64 *)&bucket->way[way].service;
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		if (!bucket->way[way].key)
			return FRONT_NONE;
	return FRONT_ELSEWHERE;
}

static __always_inline __u64 find_exact_front(__u32 address, __u16 port, __u8 protocol)
{
	__u64 key = front_key(address, port, protocol), found = FRONT_ELSEWHERE;

	for (int probe = 0; probe < FRONT_PROBES && found == FRONT_ELSEWHERE; probe++)
		found = find_in_front_bucket(front_hash(key) + probe, key);
	return found == FRONT_ELSEWHERE ? FRONT_NONE : found;
}

/* True if a connection to this port may be an FTP data connection (ip_vs_service_find). */
static __always_inline int may_be_ftp_data(__u16 port)
{
	return port == bpf_htons(FTP_DATA) || bpf_ntohs(port) >= FIRST_FREE_PORT;
}

/* Find the front for this port, else the front of persistent FTP, else the front for every port of the address. */
__noinline __u64 find_front_elsewhere(__u32 address, __u16 port, __u8 protocol)
{
	__u64 found = find_exact_front(address, port, protocol);

	if (found == FRONT_NONE && control.ftp && protocol == IPPROTO_TCP && may_be_ftp_data(port)) {
		found = find_exact_front(address, bpf_htons(FTP), IPPROTO_TCP);
		if (!(FRONT_FLAGS(found) & FRONT_FTP))
			found = FRONT_NONE;
	}
	return found == FRONT_NONE && control.any_port ? find_exact_front(address, 0, protocol) : found;
}

/* Look into the first bucket here: most fronts are there. */
static __always_inline __u64 find_front(__u32 address, __u16 port, __u8 protocol)
{
	__u64 key = front_key(address, port, protocol), found = find_in_front_bucket(front_hash(key), key);

	return found < FRONT_ELSEWHERE ? found : find_front_elsewhere(address, port, protocol);
}

static __always_inline __u64 find_in_front6_bucket(__u32 hash, __u64 address, __u64 rest, __u64 key)
{
	__u32 index = hash & limits.front6_mask;
	struct front6_bucket *bucket = bpf_map_lookup_elem(&pm_fronts6, &index);

	if (!bucket)
		return FRONT_NONE;
#pragma unroll
	for (int way = 0; way < WAYS; way++) {
		struct front6 *front = &bucket->way[way];

		if (front->key == key && front->address[0] == address && front->address[1] == rest)
			return *(__u64 *)&front->service;
	}
#pragma unroll
	for (int way = 0; way < WAYS; way++)
		if (!bucket->way[way].key)
			return FRONT_NONE;
	return FRONT_ELSEWHERE;
}

/* Return the hashed part of a front. Connections use it too, so that their hash does not wait for the front. */
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
	__u64 found = FRONT_ELSEWHERE;

	for (int probe = 0; probe < FRONT_PROBES && found == FRONT_ELSEWHERE; probe++)
		found = find_in_front6_bucket(hash + probe, address, rest, key);
	return found == FRONT_ELSEWHERE ? FRONT_NONE : found;
}

/* As find_front_elsewhere(). */
__noinline __u64 find_front6_elsewhere(__u64 address, __u64 rest, __u64 key)
{
	__u64 found = find_exact_front6(address, rest, key);

	if (found == FRONT_NONE && control.ftp && (key >> 16 & 0xff) == IPPROTO_TCP && may_be_ftp_data(key)) {
		found = find_exact_front6(address, rest, (key & ~0xffffULL) | bpf_htons(FTP));
		if (!(FRONT_FLAGS(found) & FRONT_FTP))
			found = FRONT_NONE;
	}
	return found == FRONT_NONE && control.any_port ? find_exact_front6(address, rest, key & ~0xffffULL) : found;
}

static __always_inline __u64 find_front6(struct packet6 *p, __u64 sum)
{
	__u64 address = p->virtual[0], rest = p->virtual[1], key = front6_key(p);
	__u64 found = find_in_front6_bucket(front6_hash(sum), address, rest, key);

	return found < FRONT_ELSEWHERE ? found : find_front6_elsewhere(address, rest, key);
}

#endif
