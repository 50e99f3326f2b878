/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Choose the real server for a new connection, as IPVS does, in the order of its lists: newest first. */
#ifndef POINTSMAN_SCHED_H
#define POINTSMAN_SCHED_H

#include "sched_twos.h"
#include "sched_hash.h"
#include "sched_wlc.h"
#include "sched_lblc.h"
#include "sched_rr.h"

/* `index` is the index of the service, `client` and `virtual` are addresses, `port` is the client's port. */
static __always_inline __u32 schedule(struct service *service, __u32 index, __u32 client, __u32 virtual, __u16 port)
{
	__u64 list = *(volatile __u64 *)&service->list;

	if (!LIST_COUNT(list))
		return NOBODY;
	switch (LIST_SCHEDULER(list)) {
	case SCHEDULER_RR:
	case SCHEDULER_WRR:
		return take_turns(service);
	case SCHEDULER_SH:
	case SCHEDULER_DH:
	case SCHEDULER_MH:
		return choose_by_slot(service, client, virtual, port);
	case SCHEDULER_TWOS:
		return choose_twos(service);
	case SCHEDULER_LBLC:
		return choose_local(service, index, virtual, 0);
	case SCHEDULER_LBLCR:
		return choose_local(service, index, virtual, 1);
	default:
		return find_cheapest(service);
	}
}

#endif
