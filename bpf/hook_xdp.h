/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The XDP hook: carry out an action, and the steps that need the frame again. */
#ifndef POINTSMAN_HOOK_XDP_H
#define POINTSMAN_HOOK_XDP_H

#include "director6.h"
#include "grace.h"
#include "xmit_tunnel.h"
#include "slow_path.h"
#include "slow_path6.h"

static __always_inline int send_xdp(struct xdp_md *context, __u32 out)
{
	return out == context->ingress_ifindex ? XDP_TX : bpf_redirect_map(&pm_tx_devices, out, XDP_DROP);
}

static __always_inline int xdp_action(struct xdp_md *context, enum action action, __u32 out)
{
	switch (action) {
	case SEND:
		return send_xdp(context, out);
	case REPLY:
		return icmp_reply_xdp(context, out);
	case REPLY6:
		return icmp_reply6_xdp(context, out);
	case TUNNEL:
		out = tunnel_xdp(context, out);
		return out ? send_xdp(context, out) : XDP_DROP;
	case GRACE:
		return is_local_xdp(context) ? XDP_PASS : XDP_DROP;
	case DROP:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

__noinline int read_slow_xdp(struct xdp_md *context, struct flow *flow, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_slow(data, end, end - data, context->ingress_ifindex, 0, flow, dest);
}

__noinline int finish_slow_xdp(struct xdp_md *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum action action = finish_slow((void *)(long)context->data, (void *)(long)context->data_end, 0,
					 context->ingress_ifindex, 0, reason, dest, &out);

	return xdp_action(context, action, out);
}

__noinline int read_slow6_xdp(struct xdp_md *context, struct flow *flow, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_slow6(data, end, end - data, context->ingress_ifindex, 0, 0, flow, dest);
}

__noinline int finish_slow6_xdp(struct xdp_md *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum action action = finish_slow6((void *)(long)context->data, (void *)(long)context->data_end, 0,
					  context->ingress_ifindex, 0, reason, dest, &out);

	return xdp_action(context, action, out);
}

static __always_inline int direct_slow_xdp(struct xdp_md *context, int ipv6)
{
	struct flow *flow = blank_flow();
	__u32 dest = NOBODY;
	int reason;

	if (!flow)
		return XDP_PASS;
	if (ipv6)
		reason = read_slow6_xdp(context, flow, &dest);
	else
		reason = is_damaged_xdp(context) ? EXIT_MALFORMED : read_slow_xdp(context, flow, &dest);
	reason = serve_slow(flow, reason, 0, &dest);
	return ipv6 ? finish_slow6_xdp(context, reason, dest) : finish_slow_xdp(context, reason, dest);
}

/* The tag of a VLAN, after the two MAC addresses. */
struct tag {
	__u16 type;
	__u16 number;
	__u16 protocol;
};

/* Move the frame's MAC addresses and its start by `bytes`. Returns -1 when the frame is too short. */
static __always_inline int move_start(struct xdp_md *context, int bytes)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data, addresses;

	if ((void *)(ethernet + 1) > end)
		return -1;
	addresses = *ethernet;
	if (bpf_xdp_adjust_head(context, bytes))
		return -1;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + sizeof(addresses) > end)
		return -1;
	__builtin_memcpy(data, &addresses, 2 * ETH_ALEN);
	return 0;
}

/*
 * A frame that is neither IPv4 nor IPv6. With a priority tag (VLAN 0) it is handled without the tag, as in IPVS. A
 * packet that is passed gets its tag back: there may be an interface of this VLAN.
 */
__noinline int direct_tagged_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct tag tag, *found = data + 2 * ETH_ALEN;
	int verdict;

	if ((void *)(found + 1) > end || found->type != bpf_htons(ETH_P_8021Q) ||
	    found->number & bpf_htons(VLAN_NUMBER) ||
	    !(found->protocol == bpf_htons(ETH_P_IP) || found->protocol == bpf_htons(ETH_P_IPV6))) {
		count_exit(EXIT_NOT_IP);
		return XDP_PASS;
	}
	tag = *found;
	if (move_start(context, sizeof(tag) - sizeof(tag.protocol)))
		return XDP_PASS;
	verdict = direct_slow_xdp(context, tag.protocol == bpf_htons(ETH_P_IPV6));
	if (verdict != XDP_PASS || move_start(context, -(int)(sizeof(tag) - sizeof(tag.protocol))))
		return verdict;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	found = data + 2 * ETH_ALEN;
	if ((void *)(found + 1) <= end)
		*found = tag;
	return XDP_PASS;
}

__noinline int forward6_xdp(struct xdp_md *context, __u32 dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 out = 0;
	enum action action = direct_first6(data, end, context->ingress_ifindex, 0, dest, &out);

	return xdp_action(context, action, out);
}

static __always_inline int start_flow6_xdp(struct xdp_md *context)
{
	struct flow *flow = hold_flow();
	__u32 dest, out = 0;

	if (!flow)
		return XDP_PASS;
	dest = first_packet(flow);
	if (dest != NOBODY)
		return forward6_xdp(context, dest);

	enum action action = exit_action6(flow->exit, &out);

	return xdp_action(context, action, out);
}

#endif
