/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* Map an exit reason to an action, and count it. */
#ifndef POINTSMAN_ACTION_H
#define POINTSMAN_ACTION_H

#include "icmp_reply6.h"
#include "xmit_dr.h"

enum action { PASS, DROP, SEND, REPLY, REPLY6, TUNNEL, SLOW_PATH, SLOW_PATH6, OTHER_FAMILY, NEW_FLOW, GRACE };

/*
 * With GRACE the hook asks for a local socket, and counts.
 * `*out`: with EXIT_TOO_BIG the MTU (in); when the action is REPLY, what to reply (out); with GO_ON_TUNNEL the
 * server.
 */
static __always_inline enum action exit_action(enum exit_reason reason, __u32 *out)
{
	if (reason == GO_ON_TUNNEL)
		return TUNNEL;
	if (reason == EXIT_GRACE)
		return GRACE;
	count_exit(reason);
	if (reason >= EXIT_NO_DESTINATION) {
		*out = reply_to(reason, *out);
		return REPLY;
	}
	return reason >= EXIT_SERVER_REMOVED ? DROP : PASS;
}

static __always_inline enum action exit_action6(enum exit_reason reason, __u32 *out)
{
	if (reason == GO_ON_TUNNEL)
		return TUNNEL;
	if (reason == EXIT_GRACE)
		return GRACE;
	count_exit(reason);
	if (reason >= EXIT_NO_DESTINATION) {
		*out = reply6_to(reason, *out);
		return REPLY6;
	}
	return reason >= EXIT_SERVER_REMOVED ? DROP : PASS;
}

#endif
