// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The order of the steps, and the four ways in. The steps themselves are in the files included. */
#include <linux/pkt_cls.h>

#include "director6.h"
#include "errors.h"
#include "expiry.h"
#include "flows.h"
#include "forward.h"
#include "fragments.h"
#include "maps.h"
#include "marks.h"
#include "parse.h"
#include "services.h"
#include "tunnel.h"
#include "unusual6.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Returns EXIT_COUNT when there is a service for the packet. Then *dest is the server of its connection; or else *first
 * becomes what first_packet() has to know.
 */
static __always_inline enum exit_reason find_server(struct packet *p, struct flow **first, __u32 *dest)
{
	__u64 front = find_front(p->virtual, p->virtual_port, p->protocol);

	if (front == FRONT_NONE)
		return EXIT_NO_SERVICE;
	if (!addressed_to_us(p->ethernet, ingress_of(p)))
		return EXIT_OTHER_HOST;

	__u64 key = connection_key(p), hash = spread(key, FRONT_NUMBER(front)), word = 0;
	struct connection *entry = find_connection(hash, key, FRONT_NUMBER(front), &word);

	if (entry && !starts_anew(word, p->flags)) {
		*dest = WORD_DEST_OF(word);
		continue_connection(entry, word, p->flags, p->client, 0);
	} else {
		struct flow *flow = hold_flow();

		if (!flow)
			return EXIT_NO_CONNECTION;
		*first = flow;
		*flow = (struct flow){
			.key = key,
			.hash = hash,
			.ended = entry ? word : 0,
			.front = FRONT_NUMBER(front),
			.service = FRONT_SERVICE(front),
			.client = { p->client },
			.hashed_client = p->client,
			.hashed_virtual = p->virtual,
			.client_port = p->client_port,
			.protocol = p->protocol,
			.flags = p->flags,
		};
	}
	return EXIT_COUNT;
}

/* The server of a new connection. Returns EXIT_COUNT, or why there is none. */
static __always_inline enum exit_reason start_flow(struct flow *flow, __u32 *dest)
{
	*dest = first_packet(flow);
	return *dest == NOBODY ? flow->exit : EXIT_COUNT;
}

static __always_inline enum verdict direct(void *data, void *end, __u32 length, void *context, int tc, __u32 *out)
{
	struct packet packet = { .context = context, .tc = tc };
	struct flow *flow = 0;
	enum exit_reason reason = parse(&packet, data, end, length);
	__u32 dest = NOBODY;

	if (reason == EXIT_NOT_IP)
		return OTHER_FAMILY;
	if (reason == EXIT_NOT_TRANSPORT)
		return UNUSUAL;
	if (reason == EXIT_COUNT) {
		reason = find_server(&packet, &flow, &dest);
		if (flow)
			reason = start_flow(flow, &dest);
	}
	if (reason == EXIT_COUNT)
		reason = forward(&packet, dest, out);
	return reason == EXIT_COUNT ? SEND : leave(reason, out);
}

/*
 * SCTP, ICMP errors, fragments and headers with options go the same way in small steps. They are functions of their
 * own: the verifier goes through each once and by itself, and the stack has no room for all of them at once.
 */
static __always_inline enum exit_reason read_unusual(void *data, void *end, __u32 length, __u32 ingress,
						     struct flow *flow, __u32 *dest)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct packet packet = {};
	enum exit_reason reason;
	enum kind kind;

	if ((void *)(ip + 1) > end)
		return EXIT_MALFORMED;
	kind = kind_of(ip);
	if (kind == LATER_FRAGMENT)
		reason = follow_first(ip, end, length, dest);
	else
		reason = kind == ERROR ? parse_error(&packet, ip, end, length) : parse_rest(&packet, ip, end, length);
	*flow = (struct flow){
		.key = connection_key(&packet),
		.client = { packet.client },
		.hashed_client = packet.client,
		.hashed_virtual = packet.virtual,
		.client_port = packet.client_port,
		.virtual_port = packet.virtual_port,
		.protocol = packet.protocol,
		.flags = packet.flags,
		.is_error = kind == ERROR,
	};
	return reason == EXIT_COUNT && !addressed_to_us(data, ingress) ? EXIT_OTHER_HOST : reason;
}

__noinline int find_service(struct flow *flow)
{
	__u64 front;

	if (!flow)
		return EXIT_NO_SERVICE;
	front = find_front_elsewhere(flow->hashed_virtual, flow->virtual_port, flow->protocol);
	if (front == FRONT_NONE)
		return EXIT_NO_SERVICE;
	flow->front = FRONT_NUMBER(front);
	flow->service = FRONT_SERVICE(front);
	return EXIT_COUNT;
}

/* The server of a flow's connection, if there is one. */
__noinline __u32 find_flow(struct flow *flow)
{
	struct connection *entry;
	__u64 word = 0;

	if (!flow)
		return NOBODY;
	if (!flow->wide)
		flow->hash = spread(flow->key, flow->front);
	entry = find_entry(flow, &word);
	if (entry && !starts_anew(word, flow->flags)) {
		/* An error does not keep the connection alive it is about. */
		if (!flow->is_error)
			continue_connection(entry, word, flow->flags, flow->client[0], flow->client[1]);
		return WORD_DEST_OF(word);
	}
	flow->ended = entry ? word : 0;
	return NOBODY;
}

/*
 * Returns EXIT_COUNT when *dest is the server of what was read. A later fragment has one already, and what is read of
 * IPv6 has its service. `mark` is 0 or one that a service has.
 */
static __always_inline enum exit_reason serve_unusual(struct flow *flow, enum exit_reason reason, __u32 mark,
						      __u32 *dest)
{
	if (reason == EXIT_COUNT && *dest == NOBODY) {
		if (!flow->wide)
			reason = find_service(flow);
		if (mark)
			reason = find_marked_service(flow, mark);
		if (reason == EXIT_COUNT)
			*dest = find_flow(flow);
	}
	return reason == EXIT_COUNT && *dest == NOBODY ? start_flow(flow, dest) : reason;
}

static __always_inline enum verdict finish_unusual(void *data, void *end, __u32 ingress, __u32 joined,
						   enum exit_reason reason, __u32 dest, __u32 *out)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct packet packet = { .ethernet = data, .ip = ip, .ingress = ingress, .joined = joined };
	enum verdict verdict;
	enum kind kind;

	if ((void *)(ip + 1) > end)
		return PASS;
	packet.length = bpf_ntohs(ip->tot_len);
	packet.transport_header = ip->protocol == IPPROTO_TCP ? TCP_HEADER : 0;
	kind = kind_of(ip);
	if (kind == FIRST_FRAGMENT && (reason == EXIT_COUNT || reason == EXIT_NO_DESTINATION))
		remember_fragments(name_fragments(ip), dest);
	if (reason == EXIT_COUNT)
		reason = forward(&packet, dest, out);
	if (reason == EXIT_COUNT)
		return SEND;
	verdict = leave(reason, out);
	/* No error about an error, and none without ports. */
	return verdict == ANSWER && (kind == ERROR || kind == LATER_FRAGMENT) ? DROP : verdict;
}

static __always_inline int send_xdp(struct xdp_md *context, __u32 out)
{
	return out == context->ingress_ifindex ? XDP_TX : bpf_redirect_map(&ports, out, XDP_DROP);
}

static __always_inline int xdp_action(struct xdp_md *context, enum verdict verdict, __u32 out)
{
	switch (verdict) {
	case SEND:
		return send_xdp(context, out);
	case ANSWER:
		return answer_xdp(context, out);
	case ANSWER6:
		return answer6_xdp(context, out);
	case TUNNEL:
		out = tunnel_xdp(context, out);
		return out ? send_xdp(context, out) : XDP_DROP;
	case DROP:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

__noinline int read_unusual_xdp(struct xdp_md *context, struct flow *flow, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_unusual(data, end, end - data, context->ingress_ifindex, flow, dest);
}

__noinline int finish_unusual_xdp(struct xdp_md *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum verdict verdict = finish_unusual((void *)(long)context->data, (void *)(long)context->data_end,
					      context->ingress_ifindex, 0, reason, dest, &out);

	return xdp_action(context, verdict, out);
}

__noinline int read_unusual6_xdp(struct xdp_md *context, struct flow *flow, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_unusual6(data, end, end - data, context->ingress_ifindex, 0, flow, dest);
}

__noinline int finish_unusual6_xdp(struct xdp_md *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum verdict verdict = finish_unusual6((void *)(long)context->data, (void *)(long)context->data_end,
					       context->ingress_ifindex, 0, reason, dest, &out);

	return xdp_action(context, verdict, out);
}

static __always_inline int direct_unusual_xdp(struct xdp_md *context, int ipv6)
{
	struct flow *flow = blank_flow();
	__u32 dest = NOBODY;
	int reason;

	if (!flow)
		return XDP_PASS;
	if (ipv6)
		reason = read_unusual6_xdp(context, flow, &dest);
	else
		reason = is_damaged_xdp(context) ? EXIT_MALFORMED : read_unusual_xdp(context, flow, &dest);
	reason = serve_unusual(flow, reason, 0, &dest);
	return ipv6 ? finish_unusual6_xdp(context, reason, dest) : finish_unusual_xdp(context, reason, dest);
}

__noinline int forward6_xdp(struct xdp_md *context, __u32 dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 out = 0;
	enum verdict verdict = direct_first6(data, end, context->ingress_ifindex, 0, dest, &out);

	return xdp_action(context, verdict, out);
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

	enum verdict verdict = leave6(flow->exit, &out);

	return xdp_action(context, verdict, out);
}

SEC("xdp")
int direct_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 out = 0;
	enum verdict verdict = direct(data, end, end - data, context, 0, &out);

	if (verdict == SEND)
		return send_xdp(context, out);
	if (verdict == OTHER_FAMILY)
		verdict = direct6(data, end, end - data, context->ingress_ifindex, 0, &out);
	if (verdict == SEND)
		return send_xdp(context, out);
	if (verdict == NEW_FLOW)
		return start_flow6_xdp(context);
	if (verdict == UNUSUAL || verdict == UNUSUAL6)
		return direct_unusual_xdp(context, verdict == UNUSUAL6);
	return xdp_action(context, verdict, out);
}

static __always_inline int tc_action(struct __sk_buff *context, enum verdict verdict, __u32 out)
{
	switch (verdict) {
	case SEND:
		return bpf_redirect(out, 0);
	case ANSWER:
		return answer_tc(context, out);
	case ANSWER6:
		return answer6_tc(context, out);
	case TUNNEL:
		out = tunnel_tc(context, out);
		return out ? bpf_redirect(out, 0) : TC_ACT_SHOT;
	case DROP:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
}

__noinline int read_unusual_tc(struct __sk_buff *context, struct flow *flow, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_unusual(data, end, context->len, context->ingress_ifindex, flow, dest);
}

__noinline int finish_unusual_tc(struct __sk_buff *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum verdict verdict = finish_unusual((void *)(long)context->data, (void *)(long)context->data_end,
					      context->ingress_ifindex, context->gso_size, reason, dest, &out);

	return tc_action(context, verdict, out);
}

#define LONGEST_HEADERS (14 + 60 + 20)
#define LONGEST_HEADERS6 (14 + 40 + LONGEST_EXTENSIONS + 20)
#define LONGEST_ERROR (14 + 60 + MOST_SUMMED)

/* Makes this many bytes of the frame readable, if it has them. */
static __always_inline void pull(struct __sk_buff *context, __u32 length)
{
	if (context->data_end - context->data < length)
		bpf_skb_pull_data(context, context->len < length ? context->len : length);
}

__noinline int read_unusual6_tc(struct __sk_buff *context, struct flow *flow, __u32 mark, __u32 *dest)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;

	if (!flow || !dest)
		return EXIT_MALFORMED;
	return read_unusual6(data, end, context->len, context->ingress_ifindex, mark, flow, dest);
}

__noinline int finish_unusual6_tc(struct __sk_buff *context, int reason, __u32 dest)
{
	__u32 out = 0;
	enum verdict verdict = finish_unusual6((void *)(long)context->data, (void *)(long)context->data_end,
					       context->ingress_ifindex, context->gso_size, reason, dest, &out);

	return tc_action(context, verdict, out);
}

static __always_inline int direct_unusual_tc(struct __sk_buff *context, int ipv6, __u32 mark)
{
	struct flow *flow = blank_flow();
	__u32 dest = NOBODY;
	int reason;

	if (!flow)
		return TC_ACT_UNSPEC;
	pull(context, LONGEST_ERROR);
	if (ipv6)
		reason = read_unusual6_tc(context, flow, mark, &dest);
	else
		reason = is_damaged_tc(context) ? EXIT_MALFORMED : read_unusual_tc(context, flow, &dest);
	reason = serve_unusual(flow, reason, mark, &dest);
	return ipv6 ? finish_unusual6_tc(context, reason, dest) : finish_unusual_tc(context, reason, dest);
}

static __always_inline int has_extensions(struct __sk_buff *context)
{
	struct ipv6hdr *ip = (void *)(long)context->data + sizeof(struct ethhdr);

	return (void *)(ip + 1) <= (void *)(long)context->data_end && is_extension(ip->nexthdr);
}

static __always_inline enum verdict direct6_tc(struct __sk_buff *context, __u32 *out)
{
	if (has_extensions(context))
		pull(context, LONGEST_HEADERS6);
	return direct6((void *)(long)context->data, (void *)(long)context->data_end, context->len,
		       context->ingress_ifindex, context->gso_size, out);
}

__noinline int forward6_tc(struct __sk_buff *context, __u32 dest)
{
	__u32 out = 0;
	enum verdict verdict = direct_first6((void *)(long)context->data, (void *)(long)context->data_end,
					     context->ingress_ifindex, context->gso_size, dest, &out);

	return tc_action(context, verdict, out);
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

	enum verdict verdict = leave6(flow->exit, &out);

	return tc_action(context, verdict, out);
}

/* Is it an IP packet with a mark that stands for a service? */
static __always_inline int bears_mark(struct __sk_buff *context)
{
	if (context->protocol == bpf_htons(ETH_P_IP))
		return find_mark(context->mark, 0) != 0;
	return context->protocol == bpf_htons(ETH_P_IPV6) && find_mark(context->mark, 1);
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
	if (context->mark && bears_mark(context))
		return direct_unusual_tc(context, context->protocol == bpf_htons(ETH_P_IPV6), context->mark);
	pull(context, LONGEST_HEADERS);

	enum verdict verdict = direct((void *)(long)context->data, (void *)(long)context->data_end, context->len,
				      context, 1, &out);

	if (verdict == OTHER_FAMILY)
		verdict = direct6_tc(context, &out);
	if (verdict == NEW_FLOW)
		return start_flow6_tc(context);
	if (verdict == UNUSUAL || verdict == UNUSUAL6)
		return direct_unusual_tc(context, verdict == UNUSUAL6, 0);
	return tc_action(context, verdict, out);
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
