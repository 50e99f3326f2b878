// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The order of the steps, and the four ways in. The steps themselves are in the files included. */
#include <linux/pkt_cls.h>

#include "director6.h"
#include "expiry.h"
#include "flows.h"
#include "forward.h"
#include "maps.h"
#include "parse.h"
#include "services.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Beside the actions of XDP and tc. */
#define FIRST_PACKET 0x1000

static __always_inline __u32 start_flow(struct packet *p, struct front *front, __u64 key, __u64 hash,
					__u64 ended, __u32 *exit)
{
	struct flow flow = {
		.key = key,
		.hash = hash,
		.ended = ended,
		.front = front->number,
		.service = front->service,
		.client = { p->client },
		.hashed_client = p->client,
		.hashed_virtual = p->virtual,
		.client_port = p->client_port,
		.protocol = p->protocol,
		.flags = p->flags,
	};
	__u32 dest = first_packet(&flow);

	*exit = flow.exit;
	return dest;
}

static __always_inline enum verdict direct(void *data, void *end, __u32 length, __u32 ingress, __u32 *out)
{
	struct packet packet = {};
	enum exit_reason reason = parse(&packet, data, end, length);

	if (reason == EXIT_NOT_IP)
		return OTHER_FAMILY;
	if (reason != EXIT_COUNT)
		return leave(reason);

	struct front *front = find_front(&packet);

	if (!front)
		return leave(EXIT_NO_SERVICE);
	if (!addressed_to_us(packet.ethernet, ingress))
		return leave(EXIT_OTHER_HOST);

	__u64 key = connection_key(&packet), hash = spread(key, front->number), word = 0;
	struct connection *entry = find_connection(hash, key, front->number, &word);
	__u32 dest;

	if (entry && !starts_anew(word, packet.flags)) {
		dest = WORD_DEST_OF(word);
		continue_connection(entry, word, packet.flags, packet.client, 0);
	} else {
		__u32 exit = 0;

		dest = start_flow(&packet, front, key, hash, entry ? word : 0, &exit);
		if (dest == NOBODY)
			return leave(exit);
	}
	reason = forward(&packet, dest, out);
	return reason == EXIT_COUNT ? SEND : leave(reason);
}

static __always_inline int xdp_action(enum verdict verdict, __u32 ingress, __u32 out)
{
	switch (verdict) {
	case SEND:
		return out == ingress ? XDP_TX : bpf_redirect_map(&ports, out, XDP_DROP);
	case DROP:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

__noinline int direct6_xdp(struct xdp_md *context, struct flow *flow)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	enum verdict verdict;
	__u32 out = 0;

	verdict = direct6(data, end, end - data, context->ingress_ifindex, flow, &out);
	return verdict == NEW_FLOW ? FIRST_PACKET : xdp_action(verdict, context->ingress_ifindex, out);
}

__noinline int forward6_xdp(struct xdp_md *context, __u32 dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 out = 0;
	enum verdict verdict = direct_first6(data, end, dest, &out);

	return xdp_action(verdict, context->ingress_ifindex, out);
}

static __always_inline int other_family_xdp(struct xdp_md *context)
{
	int action = direct6_xdp(context, 0);
	__u32 dest;

	if (action != FIRST_PACKET)
		return action;

	struct flow flow = {};

	action = direct6_xdp(context, &flow);
	if (action != FIRST_PACKET) /* another packet of it has come in between */
		return action;
	dest = first_packet(&flow);
	return dest == NOBODY ? xdp_action(leave(flow.exit), 0, 0) : forward6_xdp(context, dest);
}

SEC("xdp")
int direct_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 ingress = context->ingress_ifindex, out = 0;
	enum verdict verdict = direct(data, end, end - data, ingress, &out);

	if (verdict == OTHER_FAMILY)
		return other_family_xdp(context);
	return xdp_action(verdict, ingress, out);
}

#define LONGEST_HEADERS (14 + 60 + 20)
#define LONGEST_HEADERS6 (14 + 40 + LONGEST_EXTENSIONS + 20)

/* Makes this many bytes of a frame readable, if it has them. */
static __always_inline void pull(struct __sk_buff *context, __u32 length)
{
	if (context->data_end - context->data < length)
		bpf_skb_pull_data(context, context->len < length ? context->len : length);
}

static __always_inline int tc_action(enum verdict verdict, __u32 out)
{
	switch (verdict) {
	case SEND:
		return bpf_redirect(out, 0);
	case DROP:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
}

static __always_inline int has_extensions(struct __sk_buff *context)
{
	struct ipv6hdr *ip = (void *)(long)context->data + sizeof(struct ethhdr);

	return (void *)(ip + 1) <= (void *)(long)context->data_end && is_extension(ip->nexthdr);
}

__noinline int direct6_tc(struct __sk_buff *context, struct flow *flow)
{
	enum verdict verdict;
	__u32 out = 0;

	if (has_extensions(context))
		pull(context, LONGEST_HEADERS6);
	verdict = direct6((void *)(long)context->data, (void *)(long)context->data_end, context->len,
			  context->ingress_ifindex, flow, &out);
	return verdict == NEW_FLOW ? FIRST_PACKET : tc_action(verdict, out);
}

__noinline int forward6_tc(struct __sk_buff *context, __u32 dest)
{
	__u32 out = 0;
	enum verdict verdict =
		direct_first6((void *)(long)context->data, (void *)(long)context->data_end, dest, &out);

	return tc_action(verdict, out);
}

static __always_inline int other_family_tc(struct __sk_buff *context)
{
	int action = direct6_tc(context, 0);
	__u32 dest;

	if (action != FIRST_PACKET)
		return action;

	struct flow flow = {};

	action = direct6_tc(context, &flow);
	if (action != FIRST_PACKET) /* another packet of it has come in between */
		return action;
	dest = first_packet(&flow);
	return dest == NOBODY ? tc_action(leave(flow.exit), 0) : forward6_tc(context, dest);
}

SEC("tc")
int direct_tc(struct __sk_buff *context)
{
	__u32 out = 0;

	/* The kernel has taken the tag out of the frame already: it belongs to a VLAN's interface, not to this one. */
	if (context->vlan_present) {
		count_exit(EXIT_NOT_IP);
		return TC_ACT_UNSPEC;
	}
	pull(context, LONGEST_HEADERS);
	enum verdict verdict = direct((void *)(long)context->data, (void *)(long)context->data_end, context->len,
				      context->ingress_ifindex, &out);

	return verdict == OTHER_FAMILY ? other_family_tc(context) : tc_action(verdict, out);
}

/* Run once by user space: from then on the clock ticks for as long as the maps are held or pinned. */
SEC("syscall")
int start_clock(void *context)
{
	__u32 key = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&alarms, &key);

	if (!alarm)
		return 1;
	control.now = bpf_ktime_get_boot_ns() / 1000000000ULL;
	bpf_timer_init(&alarm->timer, &alarms, CLOCK_MONOTONIC);
	if (bpf_timer_set_callback(&alarm->timer, tick))
		return 2;
	return bpf_timer_start(&alarm->timer, TICK_NS, 0) ? 3 : 0;
}

/* Sweeps everything at the clock's present reading; for tests, which set the clock by hand. */
SEC("syscall")
int sweep_now(void *context)
{
	sweep(1);
	return 0;
}
