// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * The programs. The first two receive packets. The order of steps is in director4.h and director6.h, and for
 * everything but whole TCP and UDP packets in slow_path.h and slow_path6.h. See README.md.
 */
#include "expiry.h"
#include "hook_tc.h"
#include "hook_xdp.h"
#include "give.h"
#include "take.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int direct_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 out = 0;
	enum action action = direct(data, end, end - data, context, 0, &out);

	if (action == SEND)
		return send_xdp(context, out);
	if (action == OTHER_FAMILY)
		action = direct6(data, end, end - data, context->ingress_ifindex, 0, &out);
	if (action == SEND)
		return send_xdp(context, out);
	if (action == NEW_FLOW)
		return start_flow6_xdp(context);
	if (action == SLOW_PATH || action == SLOW_PATH6)
		return direct_slow_xdp(context, action == SLOW_PATH6);
	if (action == OTHER_FAMILY)
		return direct_tagged_xdp(context);
	return xdp_action(context, action, out);
}

SEC("tc")
int direct_tc(struct __sk_buff *context)
{
	__u32 out = 0;

	if (context->vlan_present)
		return direct_tagged_tc(context);
	if (context->mark && has_mark(context))
		return direct_slow_tc(context, context->protocol == bpf_htons(ETH_P_IPV6), context->mark);
	pull(context, LONGEST_HEADERS);

	enum action action =
		direct((void *)(long)context->data, (void *)(long)context->data_end, context->len, context, 1, &out);

	if (action == OTHER_FAMILY)
		action = direct6_tc(context, &out);
	if (action == NEW_FLOW)
		return start_flow6_tc(context);
	if (action == SLOW_PATH || action == SLOW_PATH6)
		return direct_slow_tc(context, action == SLOW_PATH6, 0);
	if (action == OTHER_FAMILY)
		count_exit(EXIT_NOT_IP);
	return tc_action(context, action, out);
}

/* Start the clock. User space runs this once; the clock then ticks for as long as the maps are held or pinned. */
SEC("syscall")
int start_clock(void *context)
{
	__u32 key = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&pm_alarms, &key);

	if (!alarm)
		return 1;
	control.now = bpf_ktime_get_boot_ns() / 1000000000ULL;
	bpf_timer_init(&alarm->timer, &pm_alarms, CLOCK_MONOTONIC);
	if (bpf_timer_set_callback(&alarm->timer, tick))
		return 2;
	return bpf_timer_start(&alarm->timer, TICK_NS, 0) ? 3 : 0;
}

/* Sweep all tables once. For tests, which set the clock by hand. */
SEC("syscall")
int sweep_now(void *context)
{
	sweep(1);
	return 0;
}

/* Write records of the tables to a lane (record.h). */
SEC("syscall")
int give_records_1(struct exchange *exchange)
{
	return give(exchange);
}

/* Take the records of a lane into the tables (record.h). */
SEC("syscall")
int take_records_1(struct exchange *exchange)
{
	return take(exchange);
}
