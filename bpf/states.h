/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* The TCP state machine as a director sees it: only the client's packets (ip_vs_proto_tcp.c, INPUT_ONLY). */
#ifndef POINTSMAN_STATES_H
#define POINTSMAN_STATES_H

#include "parse.h"

/* RST beats SYN beats FIN beats ACK. */
enum flag_class { CLASS_NONE, CLASS_ACK, CLASS_FIN, CLASS_SYN, CLASS_RST, CLASSES = 8 };

#define TRANSITIONS 64 /* of a table: 8 states, 8 classes */
#define SECURE TRANSITIONS

#define TABLE_OF(table, class, no, sr, es, fw, tw, cl, sa)                                                        \
	[table + STATE_NONE * CLASSES + class] = STATE_##no, [table + STATE_SYN_RECV * CLASSES + class] = STATE_##sr, \
	[table + STATE_ESTABLISHED * CLASSES + class] = STATE_##es,                                               \
	[table + STATE_FIN_WAIT * CLASSES + class] = STATE_##fw,                                                  \
	[table + STATE_TIME_WAIT * CLASSES + class] = STATE_##tw,                                                 \
	[table + STATE_CLOSE * CLASSES + class] = STATE_##cl, [table + STATE_SYNACK * CLASSES + class] = STATE_##sa

/* Volatile keeps clang from moving a table into a mergeable section, which libbpf does not understand. */
const volatile __u8 transitions[2 * TRANSITIONS] = {
	/* in:                  NONE         SYN_RECV     ESTABLISHED  FIN_WAIT  TIME_WAIT  CLOSE     SYNACK */
	TABLE_OF(0, CLASS_NONE, CLOSE,       CLOSE,       CLOSE,       CLOSE,    CLOSE,     CLOSE,    CLOSE),
	TABLE_OF(0, CLASS_ACK,  ESTABLISHED, ESTABLISHED, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE,    ESTABLISHED),
	TABLE_OF(0, CLASS_FIN,  CLOSE,       TIME_WAIT,   FIN_WAIT,    FIN_WAIT, TIME_WAIT, CLOSE,    TIME_WAIT),
	TABLE_OF(0, CLASS_SYN,  SYN_RECV,    SYN_RECV,    ESTABLISHED, SYN_RECV, SYN_RECV,  SYN_RECV, SYN_RECV),
	TABLE_OF(0, CLASS_RST,  CLOSE,       SYN_RECV,    CLOSE,       CLOSE,    CLOSE,     CLOSE,    CLOSE),
	/* UDP knows one state and no flags. */
	[STATE_UDP * CLASSES + CLASS_NONE] = STATE_UDP,
	/* secure_tcp (tcp_states_dos): a SYN alone does not make SYN_RECV, SYNACK is left by RST. */
	TABLE_OF(SECURE, CLASS_NONE, CLOSE,       CLOSE,       CLOSE,       CLOSE,    CLOSE,     CLOSE,  CLOSE),
	TABLE_OF(SECURE, CLASS_ACK,  ESTABLISHED, ESTABLISHED, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE,  ESTABLISHED),
	TABLE_OF(SECURE, CLASS_FIN,  CLOSE,       TIME_WAIT,   FIN_WAIT,    FIN_WAIT, TIME_WAIT, CLOSE,  TIME_WAIT),
	TABLE_OF(SECURE, CLASS_SYN,  SYNACK,      SYN_RECV,    ESTABLISHED, SYNACK,   SYNACK,    SYNACK, SYNACK),
	TABLE_OF(SECURE, CLASS_RST,  CLOSE,       SYN_RECV,    CLOSE,       CLOSE,    CLOSE,     CLOSE,  CLOSE),
	[SECURE + STATE_UDP * CLASSES + CLASS_NONE] = STATE_UDP,
};

#define CLASS_OF(f) ((f)&RST ? CLASS_RST : (f)&SYN ? CLASS_SYN : (f)&FIN ? CLASS_FIN : (f)&ACK ? CLASS_ACK : CLASS_NONE)
#define FOUR(f) CLASS_OF(f), CLASS_OF(f + 1), CLASS_OF(f + 2), CLASS_OF(f + 3)

const volatile __u8 flag_classes[FLAGS_SEEN + 1] = {
	FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28),
};

/* Is a defence of this mode up (ip_vs_ctl.c: update_defense_level)? IPVS looks at free memory instead. */
static __always_inline int is_defending(__u32 mode)
{
	return mode == DEFENCE_ALWAYS || (mode && control.pressure);
}

static __always_inline __u32 next_state(__u32 state, __u8 flags)
{
	__u32 table = is_defending(control.secure_tcp) ? SECURE : 0;
	__u32 place = (state * CLASSES + flag_classes[flags & FLAGS_SEEN]) & (TRANSITIONS - 1);

	barrier_var(place); /* clang would join the two by OR, whose bounds verifiers before Linux 6.10 forget */
	return transitions[table + place];
}

/* For most packets no table need be asked. */
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
