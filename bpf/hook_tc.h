/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The tc hook: carry out an action, and the steps that need the frame again. */
#ifndef POINTSMAN_HOOK_TC_H
#define POINTSMAN_HOOK_TC_H

#include <linux/pkt_cls.h>

#include "director6.h"
#include "grace.h"
#include "xmit_tunnel.h"
#include "slow_path.h"
#include "slow_path6.h"

static __always_inline int tc_action(struct __sk_buff *context, enum action action, __u32 out)
{
	switch (action) {
	case SEND:
		return bpf_redirect(out, 0);
	case REPLY:
		return icmp_reply_tc(context, out);
	case REPLY6:
		return icmp_reply6_tc(context, out);
	case TUNNEL:
		out = tunnel_tc(context, out);
		return out ? bpf_redirect(out, 0) : TC_ACT_SHOT;
	case GRACE:
		return is_local_tc(context) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
	case DROP:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
}

__noinline int read_slow_tc(struct __sk_buff *context, struct flow *flow, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_slow(data, end, context->len, context->ingress_ifindex, context->gso_size, flow, dest);
}

__noinline int finish_slow_tc(struct __sk_buff *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum action action = finish_slow((void *)(long)context->data, (void *)(long)context->data_end, context->len,
					 context->ingress_ifindex, context->gso_size, reason, dest, &out);

	return tc_action(context, action, out);
}

#define LONGEST_HEADERS (14 + 60 + 20)
#define LONGEST_HEADERS6 (14 + 40 + LONGEST_EXTENSIONS + 20)
#define LONGEST_ERROR (14 + 60 + MOST_SUMMED)

/* Make the first `length` bytes of the frame readable, or all of a shorter frame. */
static __always_inline void pull(struct __sk_buff *context, __u32 length)
{
	if (context->data_end - context->data < length)
		bpf_skb_pull_data(context, context->len < length ? context->len : length);
}

__noinline int read_slow6_tc(struct __sk_buff *context, struct flow *flow, __u32 mark, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_slow6(data, end, context->len, context->ingress_ifindex, context->gso_size, mark, flow, dest);
}

__noinline int finish_slow6_tc(struct __sk_buff *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum action action = finish_slow6((void *)(long)context->data, (void *)(long)context->data_end, context->len,
					  context->ingress_ifindex, context->gso_size, reason, dest, &out);

	return tc_action(context, action, out);
}

static __always_inline int direct_slow_tc(struct __sk_buff *context, int ipv6, __u32 mark)
{
	struct flow *flow = blank_flow();
	__u32 dest = NOBODY;
	int reason;

	if (!flow)
		return TC_ACT_UNSPEC;
	pull(context, LONGEST_ERROR);
	if (ipv6)
		reason = read_slow6_tc(context, flow, mark, &dest);
	else
		reason = is_damaged_tc(context) ? EXIT_MALFORMED : read_slow_tc(context, flow, &dest);
	reason = serve_slow(flow, reason, mark, &dest);
	return ipv6 ? finish_slow6_tc(context, reason, dest) : finish_slow_tc(context, reason, dest);
}

/* True if it is an IP packet with a mark that selects a service. */
static __always_inline int has_mark(struct __sk_buff *context)
{
	if (context->protocol == bpf_htons(ETH_P_IP))
		return find_mark(context->mark, 0) != 0;
	return context->protocol == bpf_htons(ETH_P_IPV6) && find_mark(context->mark, 1);
}

/*
 * A frame whose tag the kernel has removed. With VLAN 0, a priority tag, it belongs to this interface, else to a VLAN
 * interface. As in IPVS, a packet leaves without the tag.
 */
__noinline int direct_tagged_tc(struct __sk_buff *context)
{
	__u32 mark = context->mark && has_mark(context) ? context->mark : 0;
	__u16 protocol = context->protocol;
	int verdict;

	if (context->vlan_tci & VLAN_NUMBER ||
	    !(protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6))) {
		count_exit(EXIT_NOT_IP);
		return TC_ACT_UNSPEC;
	}
	verdict = direct_slow_tc(context, protocol == bpf_htons(ETH_P_IPV6), mark);
	if (verdict == TC_ACT_REDIRECT)
		bpf_skb_vlan_pop(context);
	return verdict;
}

static __always_inline int has_extensions(struct __sk_buff *context)
{
	struct ipv6hdr *ip = (void *)(long)context->data + sizeof(struct ethhdr);

	return (void *)(ip + 1) <= (void *)(long)context->data_end && is_extension(ip->nexthdr);
}

static __always_inline enum action direct6_tc(struct __sk_buff *context, __u32 *out)
{
	if (has_extensions(context))
		pull(context, LONGEST_HEADERS6);
	return direct6((void *)(long)context->data, (void *)(long)context->data_end, context->len,
		       context->ingress_ifindex, context->gso_size, out);
}

__noinline int forward6_tc(struct __sk_buff *context, __u32 dest)
{
	__u32 out = 0;
	enum action action = direct_first6((void *)(long)context->data, (void *)(long)context->data_end,
					   context->ingress_ifindex, context->gso_size, dest, &out);

	return tc_action(context, action, out);
}

static __always_inline int start_flow6_tc(struct __sk_buff *context)
{
	struct flow *flow = hold_flow();
	__u32 dest, out = 0;

	if (!flow)
		return TC_ACT_UNSPEC;
	dest = first_packet(flow);
	if (dest != NOBODY)
		return forward6_tc(context, dest);

	enum action action = exit_action6(flow->exit, &out);

	return tc_action(context, action, out);
}

#endif
