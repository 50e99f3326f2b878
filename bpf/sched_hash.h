/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * sh, dh, mh: a hash selects a slot, and the slot has a place in the list of servers.
 *
 * User space writes the slots behind the servers of a list (slots.py), four 16-bit places to an element. Both sides
 * use the kernel's hashes (ip_vs_sh.c, ip_vs_dh.c, ip_vs_mh.c), so a client gets the same server from every director,
 * with Pointsman or IPVS.
 */
#ifndef POINTSMAN_SCHED_HASH_H
#define POINTSMAN_SCHED_HASH_H

#include "server_list.h"

#define SH_SLOTS 256
#define MH_SLOTS 4093
#define MH_KEY 2654435761ULL /* for both halves of SipHash's key */
#define GOLDEN_RATIO 0x61c88647U

struct hashed {
	struct list list;
	__u32 number; /* an address, and with sh-port or mh-port the client's port, in host order */
	__u32 start;  /* the first slot */
	__u32 dest;
};

#define ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))

#define SIP_ROUND(v0, v1, v2, v3)                                                                                      \
	do {                                                                                                           \
		v0 += v1, v1 = ROTATE(v1, 13), v1 ^= v0, v0 = ROTATE(v0, 32);                                          \
		v2 += v3, v3 = ROTATE(v3, 16), v3 ^= v2;                                                               \
		v0 += v3, v3 = ROTATE(v3, 21), v3 ^= v0;                                                               \
		v2 += v1, v1 = ROTATE(v1, 17), v1 ^= v2, v2 = ROTATE(v2, 32);                                          \
	} while (0)

/* Return SipHash-1-3 of a 32-bit number: hsiphash() of a 64-bit kernel (lib/siphash.c). */
static __always_inline __u32 half_sip(__u32 number)
{
	__u64 last = (__u64)number | 4ULL << 56;
	__u64 v0 = 0x736f6d6570736575ULL ^ MH_KEY, v1 = 0x646f72616e646f6dULL ^ MH_KEY;
	__u64 v2 = 0x6c7967656e657261ULL ^ MH_KEY, v3 = 0x7465646279746573ULL ^ MH_KEY;

	v3 ^= last;
	SIP_ROUND(v0, v1, v2, v3);
	v0 ^= last;
	v2 ^= 0xff;
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

static __always_inline __u32 slot_of(struct hashed *hashed, __u32 offset)
{
	if (hashed->list.scheduler == SCHEDULER_MH)
		return half_sip(hashed->number + offset) % MH_SLOTS;
	return (offset + (hashed->number * GOLDEN_RATIO >> 24)) & (SH_SLOTS - 1);
}

/* Choose the server in this slot if it may take a connection. Returns 0 if not. */
static __always_inline int try_slot(struct hashed *hashed, __u32 slot)
{
	__u32 index = hashed->list.first + hashed->list.count + slot / 4, place, dest = NOBODY;
	__u64 *places = bpf_map_lookup_elem(&pm_members, &index);

	if (!places)
		return 0;
	place = *places >> slot % 4 * 16 & 0xffff;
	if (place >= hashed->list.count || !weight_at(&hashed->list, place, &dest))
		return 0;
	hashed->dest = dest;
	return 1;
}

static int try_fallback(__u32 step, struct hashed *hashed)
{
	__u32 slots = hashed->list.scheduler == SCHEDULER_MH ? MH_SLOTS : SH_SLOTS;

	return try_slot(hashed, slot_of(hashed, (step + hashed->start) % slots));
}

/* `client` and `virtual` are addresses, `port` is the client's port. */
__noinline __u32 choose_by_slot(struct service *service, __u32 client, __u32 virtual, __u16 port)
{
	struct hashed hashed = { .dest = opaque_zero() };
	__u32 slots, flags;

	if (!service)
		return NOBODY;
	open_list(&hashed.list, *(volatile __u64 *)&service->list);
	flags = service->flags;
	slots = hashed.list.scheduler == SCHEDULER_MH ? MH_SLOTS : SH_SLOTS;
	hashed.number = bpf_ntohl(hashed.list.scheduler == SCHEDULER_DH ? virtual : client);
	if (flags & SERVICE_HASH_PORT)
		hashed.number += bpf_ntohs(port);
	hashed.start = slot_of(&hashed, 0);
	if (!try_slot(&hashed, hashed.start) && flags & SERVICE_HASH_FALLBACK)
		bpf_loop(slots, try_fallback, &hashed, 0);
	return hashed.dest;
}

#endif
