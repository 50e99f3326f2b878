/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The states of TCP, SCTP and UDP as a director sees them, from the client's packets only (INPUT_ONLY in
 * ip_vs_proto_*.c).
 */
#ifndef POINTSMAN_STATES_H
#define POINTSMAN_STATES_H

#include "parse.h"

/* The event of a packet: for TCP the first flag that is set of RST, SYN, FIN, ACK; for SCTP the first chunk. */
enum event {
	EVENT_NONE,
	EVENT_ACK,
	EVENT_FIN,
	EVENT_SYN,
	EVENT_RST,
	EVENT_UDP,
	EVENT_SCTP_DATA,
	EVENT_SCTP_INIT,
	EVENT_SCTP_INIT_ACK,
	EVENT_SCTP_COOKIE_ECHO,
	EVENT_SCTP_COOKIE_ACK,
	EVENT_SCTP_SHUTDOWN,
	EVENT_SCTP_SHUTDOWN_ACK,
	EVENT_SCTP_SHUTDOWN_COMPLETE,
	EVENT_SCTP_ERROR,
	EVENT_SCTP_ABORT,
	EVENTS,
};

#define TRANSITIONS (STATE_COUNT * EVENTS) /* of a table */
#define SECURE TRANSITIONS

/* clang-format off */

#define AT(table, state, event) [table + STATE_##state * EVENTS + event]

#define TCP(table, event, no, sr, es, fw, tw, cl, sa)                                                             \
	AT(table, NONE, event) = STATE_##no, AT(table, SYN_RECV, event) = STATE_##sr,                             \
	AT(table, ESTABLISHED, event) = STATE_##es, AT(table, FIN_WAIT, event) = STATE_##fw,                      \
	AT(table, TIME_WAIT, event) = STATE_##tw, AT(table, CLOSE, event) = STATE_##cl,                           \
	AT(table, SYNACK, event) = STATE_##sa

#define SCTP(event, no, i1, in, ce, es, sr, cl)                                                                   \
	SCTP_ROW(0, EVENT_SCTP_##event, no, i1, in, ce, es, sr, cl),                                              \
	SCTP_ROW(SECURE, EVENT_SCTP_##event, no, i1, in, ce, es, sr, cl)
#define SCTP_ROW(table, event, no, i1, in, ce, es, sr, cl)                                                        \
	AT(table, NONE, event) = SCTP_##no, AT(table, SCTP_INIT1, event) = SCTP_##i1,                             \
	AT(table, SCTP_INIT, event) = SCTP_##in, AT(table, SCTP_COOKIE_ECHOED, event) = SCTP_##ce,                \
	AT(table, SCTP_ESTABLISHED, event) = SCTP_##es, AT(table, SCTP_SHUTDOWN_RECEIVED, event) = SCTP_##sr,     \
	AT(table, SCTP_CLOSED, event) = SCTP_##cl

#define SCTP_I1 STATE_SCTP_INIT1
#define SCTP_IN STATE_SCTP_INIT
#define SCTP_CE STATE_SCTP_COOKIE_ECHOED
#define SCTP_ES STATE_SCTP_ESTABLISHED
#define SCTP_SR STATE_SCTP_SHUTDOWN_RECEIVED
#define SCTP_CL STATE_SCTP_CLOSED

/* Volatile keeps clang from moving a table into a mergeable section, which libbpf does not understand. */
const volatile __u8 transitions[2 * TRANSITIONS] = {
	/* in:        NONE         SYN_RECV     ESTABLISHED  FIN_WAIT  TIME_WAIT  CLOSE     SYNACK */
	TCP(0, EVENT_NONE,  CLOSE,       CLOSE,       CLOSE,       CLOSE,    CLOSE,     CLOSE,    CLOSE),
	TCP(0, EVENT_ACK,   ESTABLISHED, ESTABLISHED, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE,    ESTABLISHED),
	TCP(0, EVENT_FIN,   CLOSE,       TIME_WAIT,   FIN_WAIT,    FIN_WAIT, TIME_WAIT, CLOSE,    TIME_WAIT),
	TCP(0, EVENT_SYN,   SYN_RECV,    SYN_RECV,    ESTABLISHED, SYN_RECV, SYN_RECV,  SYN_RECV, SYN_RECV),
	TCP(0, EVENT_RST,   CLOSE,       SYN_RECV,    CLOSE,       CLOSE,    CLOSE,     CLOSE,    CLOSE),
	/* secure_tcp (tcp_states_dos): a SYN alone does not make SYN_RECV, SYNACK is left by RST. */
	TCP(SECURE, EVENT_NONE, CLOSE,       CLOSE,       CLOSE,       CLOSE,    CLOSE,     CLOSE,  CLOSE),
	TCP(SECURE, EVENT_ACK,  ESTABLISHED, ESTABLISHED, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE,  ESTABLISHED),
	TCP(SECURE, EVENT_FIN,  CLOSE,       TIME_WAIT,   FIN_WAIT,    FIN_WAIT, TIME_WAIT, CLOSE,  TIME_WAIT),
	TCP(SECURE, EVENT_SYN,  SYNACK,      SYN_RECV,    ESTABLISHED, SYNACK,   SYNACK,    SYNACK, SYNACK),
	TCP(SECURE, EVENT_RST,  CLOSE,       SYN_RECV,    CLOSE,       CLOSE,    CLOSE,     CLOSE,  CLOSE),
	/* UDP has one state. */
	AT(0, NONE, EVENT_UDP) = STATE_UDP, AT(0, UDP, EVENT_UDP) = STATE_UDP,
	AT(SECURE, NONE, EVENT_UDP) = STATE_UDP, AT(SECURE, UDP, EVENT_UDP) = STATE_UDP,
	/* in:                  NONE INIT1 INIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_RECEIVED CLOSED */
	SCTP(DATA,              ES,  I1,   IN, CE,           ES,         SR,               CL),
	SCTP(INIT,              I1,  IN,  IN, CE,           ES,         SR,               IN),
	SCTP(INIT_ACK,          CE,  CE,   CE,  CE,           ES,         SR,               CL),
	SCTP(COOKIE_ECHO,       ES,  ES,   ES,  CE,           ES,         SR,               CL),
	SCTP(COOKIE_ACK,        ES,  I1,   IN, ES,           ES,         SR,               CL),
	SCTP(SHUTDOWN,          SR,  I1,   IN, CE,           SR,         SR,               CL),
	SCTP(SHUTDOWN_ACK,      CL,  IN,  IN, CE,           CL,         SR,               CL),
	SCTP(SHUTDOWN_COMPLETE, CL,  CL,   CL,  CE,           ES,         CL,               CL),
	SCTP(ERROR,             CL,  I1,   IN, CE,           ES,         SR,               CL),
	SCTP(ABORT,             CL,  CL,   CL,  CL,           CL,         CL,               CL),
};

#define EVENT_OF(f) ((f)&RST ? EVENT_RST : (f)&SYN ? EVENT_SYN : (f)&FIN ? EVENT_FIN : (f)&ACK ? EVENT_ACK : EVENT_NONE)
#define FOUR(f) EVENT_OF(f), EVENT_OF(f + 1), EVENT_OF(f + 2), EVENT_OF(f + 3)

/* By the flags of a packet. SCTP chunks that are not listed count as data. */
const volatile __u8 events[FLAGS_MEANT + 1] = {
	FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28),
	[FLAGS_UDP] = EVENT_UDP,
	[FLAGS_SCTP_DATA] = EVENT_SCTP_DATA,
	[FLAGS_SCTP_INIT] = EVENT_SCTP_INIT,
	[FLAGS_SCTP_INIT_ACK] = EVENT_SCTP_INIT_ACK,
	[FLAGS_SCTP_COOKIE_ECHO] = EVENT_SCTP_COOKIE_ECHO,
	[FLAGS_SCTP_COOKIE_ACK] = EVENT_SCTP_COOKIE_ACK,
	[FLAGS_SCTP_SHUTDOWN] = EVENT_SCTP_SHUTDOWN,
	[FLAGS_SCTP_SHUTDOWN_ACK] = EVENT_SCTP_SHUTDOWN_ACK,
	[FLAGS_SCTP_SHUTDOWN_COMPLETE] = EVENT_SCTP_SHUTDOWN_COMPLETE,
	[FLAGS_SCTP_ERROR] = EVENT_SCTP_ERROR,
	[FLAGS_SCTP_ABORT] = EVENT_SCTP_ABORT,
};

/* clang-format on */

/*
 * True if a defence with this mode is active (update_defense_level in ip_vs_ctl.c). IPVS looks at free memory
 * instead.
 */
static __always_inline int is_defending(__u32 mode)
{
	return mode == DEFENCE_ALWAYS || (mode && control.pressure);
}

static __always_inline __u32 next_state(__u32 state, __u8 flags)
{
	__u32 table = is_defending(control.secure_tcp) ? SECURE : 0;
	__u32 place = (state * EVENTS + events[flags & FLAGS_MEANT]) & (TRANSITIONS - 1);

	barrier_var(place); /* else clang joins the two with OR, and verifiers before Linux 6.10 lose its bounds */
	return transitions[table + place];
}

/* False if this packet cannot change the state; most packets need no look into the table. */
static __always_inline int may_leave_state(__u32 state, __u8 flags)
{
	return state == STATE_ESTABLISHED ? (flags & (FIN | SYN | RST | ACK)) != ACK : state != STATE_UDP;
}

static __always_inline __u64 deadline_in(__u32 seconds)
{
	return (control.now + seconds) & DEADLINE_MASK;
}

static __always_inline int is_due(__u64 word)
{
	return ((control.now - word) & DEADLINE_MASK) < (DEADLINE_MASK + 1) / 2;
}

#endif
