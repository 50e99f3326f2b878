/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* ICMP (RFC 792) and ICMPv6 (RFC 4443). linux/icmp.h would need the headers of the C library. */
#ifndef POINTSMAN_ICMP_H
#define POINTSMAN_ICMP_H

#include <linux/types.h>

#define ICMP_UNREACHABLE 3
#define ICMP_PORT_UNREACHABLE 3 /* code */
#define ICMP_TOO_BIG 4		/* code: fragmentation needed and DF set */
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_IN_TRANSIT 0 /* code */

#define ICMP6_UNREACHABLE 1
#define ICMP6_PORT_UNREACHABLE 4 /* code */
#define ICMP6_TOO_BIG 2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_INFORMATION 128 /* types from here on are not errors */

struct icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 unused;
	__u16 mtu; /* RFC 1191; IPv6: the lower half */
};

#endif
