/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The external form of connections and persistence templates, version 1, and the way to give and take it.
 *
 * It does not depend on the layout of maps, nor on the numbers of services and servers. So another director, or
 * another version of this one, can read it. Nothing here changes once it is released; what would have to change gets
 * another version, and programs and maps of another name (`pm_exchange`, `give_records_1`, `take_records_1`).
 */
#ifndef POINTSMAN_RECORD_H
#define POINTSMAN_RECORD_H

/* Addresses, ports: network byte order. Numbers: little-endian. */
struct record {
	__u64 client[2];  /* IPv4: the first four bytes; of a template: masked */
	__u64 virtual[2]; /* of a mark's connection: as much as is known (fwmark.h) */
	__u64 server[2];
	__u16 client_port; /* of a template: 0 */
	__u16 virtual_port;
	__u16 server_port; /* as configured */
	__u8 protocol;
	__u8 flags;   /* enum record_flag */
	__u32 fwmark; /* the mark by which the service was found; 0: by its address */
	__u32 rest;   /* remaining seconds | enum connection_state << 24; 0 seconds: expired */
};

enum record_flag {
	RECORD_IPV6 = 1,    /* client and virtual address */
	RECORD_SERVER6 = 2, /* server */
	RECORD_TEMPLATE = 4,
	RECORD_ASSURED = 8,	/* of a template: a connection of the client was established */
	RECORD_CONTROLLED = 16, /* held by a template */
	RECORD_CARRIED = 32,	/* the sender carries it */
};

#define RECORD_FLAGS 63
#define RECORD_SECONDS 0x3fffff
#define RECORD_STATE 24

/* The context of both programs. Records are in `pm_exchange`, from lane * LANE_RECORDS on. */
struct exchange {
	__u64 cursor; /* give: where to go on; 0: at the beginning, and at the end of the tables */
	__u32 lane;
	__u32 count; /* take: records in the lane; give: records wanted, then written */
	__u32 flags; /* take: enum take_flag; give: enum give_flag */
	__u32 spare;
};

enum take_flag {
	TAKE_OURS = 1, /* what the sender carries is ours from now on */
	TAKE_LIVE = 2, /* the sender saw a packet just now: what it carries is not ours any more */
};

enum give_flag {
	GIVE_CARRIED = 1, /* only what we carry */
};

/* What became of a record. User space takes the names from BTF: lower case, without TAKE_RESULT_. */
enum take_result {
	TAKE_RESULT_ADDED,
	TAKE_RESULT_UPDATED,
	TAKE_RESULT_KEPT,	/* we carry it ourselves */
	TAKE_RESULT_CONFLICT,	/* we carry it ourselves, and to another server */
	TAKE_RESULT_EXPIRED,	/* its time is over */
	TAKE_RESULT_NO_SERVICE, /* unknown here, or not persistent */
	TAKE_RESULT_NO_SERVER,	/* unknown here */
	TAKE_RESULT_FULL,	/* no room in the table */
	TAKE_RESULT_MALFORMED,
};

#endif
