/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* ICMP (RFC 792), as far as it is needed here; linux/icmp.h wants the C library's headers. */
#ifndef POINTSMAN_ICMP_H
#define POINTSMAN_ICMP_H

#include <linux/types.h>

#define ICMP_UNREACHABLE 3
#define ICMP_PORT_UNREACHABLE 3 /* code */
#define ICMP_TOO_BIG 4		/* code: fragmentation needed and DF set */
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_IN_TRANSIT 0 /* code */

struct icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 unused;
	__u16 mtu; /* RFC 1191 */
};

#endif
