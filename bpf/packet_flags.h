/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The meaning of a packet for its connection as TCP flags: TCP's own, and their equivalents for UDP and SCTP. */
#ifndef POINTSMAN_SCTP_H
#define POINTSMAN_SCTP_H

#include "maps.h"

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16
#define FLAGS_SEEN 31	/* FIN SYN RST PSH ACK */
#define FLAGS_MEANT 127 /* these, and the values for other protocols below */

/*
 * Values for packets without TCP flags. INIT has the bit of SYN and ABORT the bit of RST, since they mean the same
 * for a connection. The other bits only tell chunks apart.
 */
#define FLAGS_UDP 64
#define FLAGS_SCTP 32
#define FLAGS_SCTP_DATA FLAGS_SCTP
#define FLAGS_SCTP_INIT (FLAGS_SCTP | SYN)
#define FLAGS_SCTP_ABORT (FLAGS_SCTP | RST)
#define FLAGS_SCTP_INIT_ACK (FLAGS_SCTP | 1)
#define FLAGS_SCTP_COOKIE_ECHO (FLAGS_SCTP | 8)
#define FLAGS_SCTP_COOKIE_ACK (FLAGS_SCTP | 9)
#define FLAGS_SCTP_SHUTDOWN (FLAGS_SCTP | 16)
#define FLAGS_SCTP_SHUTDOWN_ACK (FLAGS_SCTP | 17)
#define FLAGS_SCTP_SHUTDOWN_COMPLETE (FLAGS_SCTP | 24)
#define FLAGS_SCTP_ERROR (FLAGS_SCTP | 25)

#define SCTP_HEADER 12
#define CHUNK_TYPES 16
#define CHUNK_ABORT 6
#define CHUNK_COOKIE_ECHO 10
#define CHUNK_COOKIE_ACK 11

struct chunk {
	__u8 type;
	__u8 flags;
	__u16 length;
};

/* By the type of the first chunk (RFC 9260, 3.2). All other types count as data. */
const volatile __u8 chunk_meanings[CHUNK_TYPES] = {
	[1] = FLAGS_SCTP_INIT,
	[2] = FLAGS_SCTP_INIT_ACK,
	[CHUNK_ABORT] = FLAGS_SCTP_ABORT,
	[7] = FLAGS_SCTP_SHUTDOWN,
	[8] = FLAGS_SCTP_SHUTDOWN_ACK,
	[9] = FLAGS_SCTP_ERROR,
	[CHUNK_COOKIE_ECHO] = FLAGS_SCTP_COOKIE_ECHO,
	[CHUNK_COOKIE_ACK] = FLAGS_SCTP_COOKIE_ACK,
	[14] = FLAGS_SCTP_SHUTDOWN_COMPLETE,
};

/* True if an ABORT follows a cookie (set_sctp_state in ip_vs_proto_sctp.c). */
static __always_inline int is_followed_by_abort(struct chunk *chunk, void *end)
{
	__u32 length = (bpf_ntohs(chunk->length) + 3) & 0x7fc;
	struct chunk *next = (void *)chunk + length;

	return length >= sizeof(*chunk) && (void *)(next + 1) <= end && next->type == CHUNK_ABORT;
}

/* Return the flags of an SCTP packet; 0 if it is cut short. `length` is its length without the IP header. */
static __always_inline __u8 chunk_flags(void *header, __u32 length, void *end)
{
	struct chunk *chunk = header + SCTP_HEADER;
	__u8 type;

	if (length < SCTP_HEADER + sizeof(*chunk) || (void *)(chunk + 1) > end)
		return 0;
	type = chunk->type;
	if ((type == CHUNK_COOKIE_ECHO || type == CHUNK_COOKIE_ACK) && is_followed_by_abort(chunk, end))
		type = CHUNK_ABORT;
	return FLAGS_SCTP | (type < CHUNK_TYPES ? chunk_meanings[type] : 0);
}

#endif
