/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* What becomes of a packet, and that every end of a way is counted. */
#ifndef POINTSMAN_ACTION_H
#define POINTSMAN_ACTION_H

#include "icmp_reply6.h"
#include "xmit_dr.h"

enum verdict { PASS, DROP, SEND, ANSWER, ANSWER6, TUNNEL, UNUSUAL, UNUSUAL6, OTHER_FAMILY, NEW_FLOW };

/* *out is read for EXIT_TOO_BIG, and written when the packet is to be answered; for EXIT_TUNNEL it is the server. */
static __always_inline enum verdict leave(enum exit_reason reason, __u32 *out)
{
	if (reason == EXIT_TUNNEL)
		return TUNNEL;
	count_exit(reason);
	if (reason >= EXIT_NO_DESTINATION) {
		*out = answer_to(reason, *out);
		return ANSWER;
	}
	return reason >= EXIT_SERVER_REMOVED ? DROP : PASS;
}

static __always_inline enum verdict leave6(enum exit_reason reason, __u32 *out)
{
	if (reason == EXIT_TUNNEL)
		return TUNNEL;
	count_exit(reason);
	if (reason >= EXIT_NO_DESTINATION) {
		*out = answer6_to(reason, *out);
		return ANSWER6;
	}
	return reason >= EXIT_SERVER_REMOVED ? DROP : PASS;
}

#endif
