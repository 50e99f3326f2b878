// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The order of the steps, and the four ways in. The steps themselves are in the files included. */
#include <linux/pkt_cls.h>

#include "expiry.h"
#include "flows.h"
#include "forward.h"
#include "maps.h"
#include "parse.h"
#include "services.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum verdict { PASS, DROP, SEND };

static __always_inline enum verdict leave(enum exit_reason reason)
{
	count_exit(reason);
	return reason >= EXIT_SERVER_REMOVED ? DROP : PASS;
}

static __always_inline __u32 start_flow(struct packet *p, struct front *front, __u64 key, __u64 hash,
					__u64 ended, __u32 *exit)
{
	struct flow flow = {
		.key = key,
		.hash = hash,
		.ended = ended,
		.front = front->number,
		.service = front->service,
		.client = p->client,
		.virtual = p->virtual,
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
		continue_connection(entry, word, &packet);
	} else {
		__u32 exit = 0;

		dest = start_flow(&packet, front, key, hash, entry ? word : 0, &exit);
		if (dest == NOBODY)
			return leave(exit);
	}
	reason = forward(&packet, dest, out);
	return reason == EXIT_COUNT ? SEND : leave(reason);
}

SEC("xdp")
int direct_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 out = 0;

	switch (direct(data, end, end - data, context->ingress_ifindex, &out)) {
	case SEND:
		return out == context->ingress_ifindex ? XDP_TX : bpf_redirect_map(&ports, out, XDP_DROP);
	case DROP:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

#define LONGEST_HEADERS (14 + 60 + 20)

SEC("tc")
int direct_tc(struct __sk_buff *context)
{
	__u32 out = 0;

	/* The kernel has taken the tag out of the frame already: it belongs to a VLAN's interface, not to this one. */
	if (context->vlan_present) {
		count_exit(EXIT_NOT_IPV4);
		return TC_ACT_UNSPEC;
	}
	if (context->data_end - context->data < LONGEST_HEADERS)
		bpf_skb_pull_data(context, context->len < LONGEST_HEADERS ? context->len : LONGEST_HEADERS);
	switch (direct((void *)(long)context->data, (void *)(long)context->data_end, context->len,
		       context->ingress_ifindex, &out)) {
	case SEND:
		return bpf_redirect(out, 0);
	case DROP:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
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
	sweep(limits.connection_mask + 1, limits.template_mask + 1);
	return 0;
}
