/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The structs and numbers that the packet path shares with user space (src/pointsman/dataplane/xdp/kernel/layout.py).
 *
 * User space compares structs and enumerations with the object's BTF before it loads it. A change here changes the
 * hash of the ABI under which maps are pinned. Addresses and ports are in network byte order unless a comment says
 * otherwise.
 */
#ifndef POINTSMAN_ABI_H
#define POINTSMAN_ABI_H

#include <linux/types.h>

#include "record.h"

/* Numbers that both sides use. */
enum layout_number {
	WAYS = 4,	  /* entries of one bucket */
	FRONT_PROBES = 4, /* buckets in which a front is looked for */
	/* Elements before the servers of a list. [0]: cursor to start from; [1]: highest level (wrr), or see BLOCKS_*. */
	LIST_HEAD = 2,
	NO_PREFIX = 255, /* service.prefix: none was given */
	GRACE_ALWAYS = 0x7fffffff,
	DEADLINE_BITS = 22,
	LOCAL_MACS = 1024, /* places of `local_macs`, by interface index */
	LANES = 4,	   /* parts of `pm_exchange`: one for each process that gives and takes records */
	LANE_RECORDS = 1024,
	TAKE_RESULTS = 16, /* counters of a lane in `pm_taken` */
};

/* Raise it when the meaning of a number changes, but not its layout. */
enum abi { ABI_REVISION = 4 };

/* Why a packet is not forwarded. User space takes the names from BTF: lower case, without EXIT_. */
enum exit_reason {
	EXIT_NOT_IP,	       /* passed: neither IPv4 nor IPv6 (ARP, VLAN) */
	EXIT_NOT_TRANSPORT,    /* passed: neither TCP nor UDP */
	EXIT_NO_SERVICE,       /* passed: no service for this address and port */
	EXIT_MALFORMED,	       /* passed: header cut short, wrong length, checksum or source; the stack drops it */
	EXIT_FRAGMENT,	       /* passed: an IP fragment */
	EXIT_OTHER_HOST,       /* passed: the frame is not addressed to this host */
	EXIT_NO_CONNECTION,    /* passed: no connection is known, and it cannot start one; the stack refuses */
	EXIT_FTP_DATA,	       /* passed: source port 20 is never scheduled */
	EXIT_LOCAL,	       /* passed: the real server is this host */
	EXIT_CONNECTION_RESET, /* passed: the real server was deleted with reset_on_removal; the stack refuses */
	EXIT_SERVER_REMOVED,   /* dropped: the real server was deleted */
	EXIT_NO_NEIGHBOUR,     /* dropped: the MAC address of the real server is not known (yet) */
	EXIT_DROP_PACKET,      /* dropped: drop_packet applied to a packet that would start a connection */
	EXIT_NOT_TUNNELLED,    /* dropped: no room for the header of the tunnel, or no checksum */
	EXIT_GRACE,	       /* dropped: a connection that may become known here; see service.grace_until */
	EXIT_NO_DESTINATION,   /* replied to: no real server can take a new connection; port unreachable */
	EXIT_TTL_EXCEEDED,     /* replied to: TTL or hop limit 1 or less; time exceeded */
	EXIT_TOO_BIG,	       /* replied to: larger than the MTU; fragmentation needed */
	EXIT_UNANSWERED,       /* counted in addition to one of these: no reply was sent (limit) */
	EXIT_TABLE_FULL,       /* forwarded: no room for a new connection, served by hash */
	EXIT_UNTRACKED,	       /* forwarded: packet of a connection that found no room, served by hash */
	EXIT_TEMPLATES_FULL,   /* forwarded: no room for a template, the client is served by hash */
	/* Not exits, and not counted: a step returns one of these when the packet goes on. */
	GO_ON,	      /* to the next step */
	GO_ON_TUNNEL, /* into a tunnel (xmit_tunnel.h) */
};

#define EXITS GO_ON /* how many counters there are */

enum scheduler {
	SCHEDULER_NONE,
	SCHEDULER_RR,
	SCHEDULER_WRR,
	SCHEDULER_LC,
	SCHEDULER_WLC,
	SCHEDULER_SED,
	SCHEDULER_NQ,
	SCHEDULER_FO,
	SCHEDULER_OVF,
	SCHEDULER_SH,
	SCHEDULER_DH,
	SCHEDULER_MH,
	SCHEDULER_TWOS,
	SCHEDULER_LBLC,
	SCHEDULER_LBLCR,
};

/* States of a connection, with the names of IPVS (ip_vs_proto_tcp.c). */
enum connection_state {
	STATE_NONE,
	STATE_SYN_RECV,
	STATE_ESTABLISHED,
	STATE_FIN_WAIT,
	STATE_TIME_WAIT,
	STATE_CLOSE,
	STATE_UDP,
	STATE_SYNACK, /* with secure_tcp only */
	/* The SCTP states that packets of the client alone can reach (ip_vs_proto_sctp.c). */
	STATE_SCTP_INIT1,
	STATE_SCTP_INIT,
	STATE_SCTP_COOKIE_ECHOED,
	STATE_SCTP_ESTABLISHED,
	STATE_SCTP_SHUTDOWN_RECEIVED,
	STATE_SCTP_CLOSED,
	STATE_COUNT = 16,
};

/* A virtual address and port. Search from the bucket of the key's hash to the first bucket with an empty way. */
struct front {
	__u64 key;     /* address | port << 32 | protocol << 48 | 1 << 56; 0: empty; FRONT_DELETED */
	__u32 service; /* index into services */
	__u16 number;  /* identifies this front in connections; not reused while one of them lives */
	__u16 flags;   /* FRONT_FTP */
};

struct front_bucket {
	struct front way[WAYS];
};

/* The same for IPv6. Both families take their numbers from one pool, so a number also tells the family. */
struct front6 {
	__u64 address[2];
	__u64 key; /* port | protocol << 16 | 1 << 24; 0: empty; FRONT_DELETED; written last */
	__u32 service;
	__u16 number;
	__u16 flags;
};

struct front6_bucket {
	struct front6 way[WAYS];
};

/* The service of a firewall mark, and the number that its connections have in place of a front's. */
struct mark {
	__u32 service;
	__u32 front;
};

#define FRONT_DELETED 0xffffffffffffffffULL
#define FRONT_HASH 0x9e3779b97f4a7c15ULL

/*
 * Flags in a key: packets find another front for the same destination (a mark has priority over an address). This one
 * is kept for its connections.
 */
enum front_bit {
	FRONT_HIDDEN_BIT = 57,
	FRONT_HIDDEN6_BIT = 25,
};

#define FRONT_HIDDEN (1ULL << FRONT_HIDDEN_BIT)
#define FRONT6_HIDDEN (1ULL << FRONT_HIDDEN6_BIT)

enum front_flag {
	FRONT_FTP = 1, /* port 21 of a persistent service: data connections belong to it */
};

enum service_flag {
	SERVICE_USED = 1,
	SERVICE_DELETED = 2, /* kept while connections live; their packets are dropped */
	SERVICE_ONE_PACKET = 4,
	SERVICE_HASH_PORT = 8,	    /* sh-port, mh-port */
	SERVICE_HASH_FALLBACK = 16, /* sh-fallback, mh-fallback */
	SERVICE_IPV6 = 32,	    /* of a mark */
	SERVICE_KEPT = 64,	    /* no director is in charge: known connections only, see control.keep_until */
};

struct service {
	/* The list of servers in force, switched with one store; see LIST_*. */
	__u64 list;
	/* Position of rr and wrr; see CURSOR_*. The packet path writes it by compare-and-swap. */
	__u64 cursor;
	__u32 flags;
	__u32 persistence;   /* seconds; 0: not persistent */
	__u32 mask;	     /* leading bits of a client's address that persistence uses */
	__u32 previous_mask; /* of templates made before the last edit */
	/* For user space: */
	__u32 mark; /* the firewall mark; 0: an address service */
	__u16 port;
	__u8 protocol;
	__u8 prefix;	/* persistence_prefix; 255: none was given */
	__u64 sequence; /* the order in which services were added */
	__u32 deleted_at;
	__u32 options; /* scheduler flags by name (slots.py) */
	__u32 group;   /* identifies the service in templates: the number of its front, or one of no front */
	/*
	 * For the packet path: until then a packet of an established connection that is unknown is not refused.
	 * 0: never, GRACE_ALWAYS: until it is changed.
	 */
	__u32 grace_until;
};

/*
 * service.list: elements of `pm_members` from `first` on: a head of two elements, the servers, newest first, then the
 * slots of sh, dh or mh.
 */
#define LIST_FIRST(list) ((__u32)((list)&0xfffffff))
#define LIST_COUNT(list) ((__u32)(((list) >> 28) & 0xffff))
#define LIST_GENERATION(list) ((__u32)(((list) >> 44) & 0xffff))
#define LIST_SCHEDULER(list) ((__u32)((list) >> 60))

/* service.cursor. When its generation is not that of the list, the start in the head of the list counts. */
#define CURSOR_POSITION(cursor) ((__u32)((cursor)&0xffff)) /* 0: before the first; n: at the n-th server */
#define CURSOR_LEVEL(cursor) ((__u32)(((cursor) >> 16) & 0xffffffff))
#define CURSOR_GENERATION(cursor) ((__u32)((cursor) >> 48))

/* An element of `pm_members`. */
struct member {
	__u32 dest;   /* index into dests */
	__u32 weight; /* for wrr divided by the greatest common divisor of all weights of the service */
};

/* One real server of one service. */
struct dest {
	__u64 frame;  /* destination MAC and the first two bytes of the source MAC, as on the wire */
	__u64 egress; /* bits 0-31: the rest of the source MAC; 32-55: interface index; from 58: enum dest_bit */
	__u32 upper;  /* limit of connections; 0: none */
	__u32 lower;
	__u32 service;
	/* For user space: */
	__u16 port;
	__u16 front;
	__u32 weight;
	__u32 deleted_at;
	__u64 sequence; /* the order in which servers were added; 0: the entry is free */
	__u32 spare;
	__u32 last_weight; /* the last weight above 0, for the table of mh */
	__u32 block;	   /* the block of the server; 0: none */
	/* For the packet path again: */
	__u16 mtu;	 /* the largest IP packet for the interface or the tunnel */
	__u16 route_mtu; /* the same from the route to the server; 65535 when the route has none */
};

/* The address of a real server, with the same index as its `dest`. */
struct remote {
	__u8 address[16];  /* IPv4: the first four bytes */
	__u8 source[16];   /* of the outer header of a tunnel */
	__u8 family;	   /* 4 or 6 */
	__u8 tunnel;	   /* TUNNEL_*; 0: direct routing */
	__u16 tunnel_port; /* of GUE */
	__u32 spare[7];
};

/* remote.tunnel: a kind, and flags. */
enum tunnel_flag {
	TUNNEL_IPIP = 1,
	TUNNEL_GUE = 2,
	TUNNEL_GRE = 3,
	TUNNEL_KIND = 0x0f,
	TUNNEL_CHECKSUM = 0x10,
	TUNNEL_REMOTE_CHECKSUM = 0x20, /* with TUNNEL_CHECKSUM: packets from outside have a full checksum anyway */
};

/* Flags of dest.egress, by bit: an enumerator of 64 bits is not in the BTF of older compilers. */
enum dest_bit {
	DEST_TUNNEL_BIT = 58,	 /* resolved, and the packet goes into a tunnel; instead of DEST_RESOLVED */
	DEST_WATCHED_BIT = 59,	 /* passive_check: count signs that the server does not answer */
	DEST_RESETS_BIT = 60,	 /* once deleted, packets of its connections are refused, not dropped */
	DEST_LOCAL_BIT = 61,	 /* the server is this host: packets are passed to its stack */
	DEST_RESOLVED_BIT = 62,	 /* `frame` and the interface are known */
	DEST_AVAILABLE_BIT = 63, /* configured; else deleted, and kept while connections live */
};

#define DEST_TUNNEL (1ULL << DEST_TUNNEL_BIT)
#define DEST_WATCHED (1ULL << DEST_WATCHED_BIT)
#define DEST_RESETS (1ULL << DEST_RESETS_BIT)
#define DEST_LOCAL (1ULL << DEST_LOCAL_BIT)
#define DEST_RESOLVED (1ULL << DEST_RESOLVED_BIT)
#define DEST_AVAILABLE (1ULL << DEST_AVAILABLE_BIT)
#define DEST_INTERFACE(egress) ((__u32)(((egress) >> 32) & 0xffffff))

/* The load of a real server, written atomically and on connection events only. */
struct load {
	__u64 held;	  /* active connections | inactive << 32 */
	__u32 persistent; /* templates */
	__u32 overloaded; /* 1 from when `upper` is reached until few enough are left */
};

/*
 * A part of a long list of a least-cost scheduler, and its cheapest server. `best` is valid while `changes` has not
 * changed; a change of the load of one of the servers increments it.
 */
struct block {
	__u32 changes;
	__u32 spare;
	__u64 best; /* place in the list or BLOCK_NOBODY, | changes << 32 */
};

#define BLOCK_NOBODY 0xffff
/* The second head element of such a list; 0: a short list without blocks. */
#define BLOCKS_FIRST(head) ((__u32)(head))
#define BLOCKS_SHIFT(head) ((__u32)((head) >> 32)) /* 1 << shift servers to a block */

struct connection {
	__u64 key;  /* client address | client port << 32 | virtual port << 48; 0: empty; written last */
	__u64 word; /* see WORD_*; 0: free */
};

struct connection_bucket {
	struct connection way[WAYS];
};

struct connection6 {
	__u64 client[2];
	struct connection entry; /* key: client port | virtual port << 16 | part of the hash << 32 | 1 << 63 */
};

struct connection6_bucket {
	struct connection6 way[WAYS];
};

#define DEADLINE_MASK ((1ULL << DEADLINE_BITS) - 1)
#define LONGEST_TIMEOUT ((1U << (DEADLINE_BITS - 1)) - 1) /* seconds, about 24 days */

/* connection.word: the deadline, and from these bits on: */
enum connection_word {
	WORD_FLAGS = DEADLINE_BITS,
	WORD_STATE = 26,
	WORD_DEST = 30,
	WORD_FRONT = 48,
};

/* Flags in connection.word. */
enum connection_flag {
	WORD_CONTROLLED_BIT = 22, /* counted on a template */
	WORD_FOREIGN_BIT = 23,	  /* another director carries this connection; its next packet here makes it ours */
	WORD_ANNOUNCED_BIT = 24,  /* we carry it, and the other directors were told */
};

#define WORD_CONTROLLED (1ULL << WORD_CONTROLLED_BIT)
#define WORD_FOREIGN (1ULL << WORD_FOREIGN_BIT)
#define WORD_ANNOUNCED (1ULL << WORD_ANNOUNCED_BIT)
#define WORD_DYING (~0ULL) /* being removed */
#define NO_FRONT 0xffff	   /* never the number of a front, so that WORD_DYING matches none */

/* A persistent client and its server. */
struct template
{
	__u64 client[2]; /* masked; IPv4: the lower half of the first */
	__u64 key;	 /* timeout in seconds | front << 32 | 1 << 48; 0: empty; written last */
	__u64 word;	 /* deadline | controls << 22 | assured << 45 | dest << 46; 0: free */
};

struct template_bucket {
	struct template way[WAYS];
};

/* template.word: the deadline, and from these bits on: */
enum template_word {
	TEMPLATE_CONTROLS = DEADLINE_BITS, /* how many connections hold this template */
	TEMPLATE_ASSURED_BIT = 45,
	TEMPLATE_DEST = 46,
};

/* Flags in template.key. */
enum template_key {
	TEMPLATE_PARKED_BIT = 49,  /* its server was deleted, new connections do not find it */
	TEMPLATE_FOREIGN_BIT = 50, /* another director carries it */
};

#define TEMPLATE_CONTROLS_MAX ((1ULL << 23) - 1)
#define TEMPLATE_ASSURED (1ULL << TEMPLATE_ASSURED_BIT)
#define TEMPLATE_PARKED (1ULL << TEMPLATE_PARKED_BIT)
#define TEMPLATE_FOREIGN (1ULL << TEMPLATE_FOREIGN_BIT)
#define TEMPLATE_REARM 60 /* seconds more when the timer fires while connections hold it (IPVS: 60 s) */

/* Counters of a real server, per CPU. */
struct traffic {
	__u64 connections;
	__u64 packets;
	__u64 octets; /* IP lengths */
	/* With DEST_WATCHED only: */
	__u32 repeated; /* SYNs of connections that are in SYN_RECV already */
	__u32 aborted;	/* established connections that the client has reset */
};

/* Signs that a real server answers nobody: TCP only, since the last client that had an answer. */
struct unanswered {
	__u32 expired;	 /* connections that expired half open */
	__u32 repeating; /* connections whose client repeats its SYN */
	__u32 counted;	 /* hash of the last one of these, so that its further SYNs are not counted */
	__u32 last;	 /* when a sign was last counted, in seconds since boot; 0: never */
};

/* Settings and clock. Every packet reads the first line; it is written once a second. */
struct control {
	__u32 now;	      /* seconds since boot, written by the timer */
	__u32 overflow_until; /* until then a packet without a connection may be of an untracked one; 0: no */
	__u64 seed;	      /* odd and secret, for the hash of connections and templates */
	__u32 any_port;	      /* number of fronts with port 0; if 0, the second look-up is skipped */
	__u32 connection_sweep;
	__u32 template_sweep;
	__u32 spare;		    /* stays 0 */
	__u32 timeout[STATE_COUNT]; /* seconds, by state */
	/* IPVS's sysctls of the same names (model/tunables.py): */
	__u32 conn_reuse_mode;
	__u32 expire_nodest_conn;
	__u32 expire_quiescent_template;
	__u32 sloppy_tcp;
	__u32 secure_tcp;
	__u32 connection6_sweep;
	__u32 ftp; /* number of fronts with FRONT_FTP; if 0, they are not looked up */
	__u32 drop_entry;
	__u32 drop_packet;
	__u32 am_droprate;
	__u32 pressure; /* 1 while the connection table is nearly full: modes 1 and 2 are active */
	__u32 occupied; /* entries that the sweep has seen in this round */
	__u32 schedule_icmp;
	__u32 sloppy_sctp;
	/* Connections of several directors (announce.h): */
	__u32 sync; /* 1: write changes to the outbox */
	/* How often each table has been swept: */
	__u32 connection_round;
	__u32 connection6_round;
	__u32 template_round;
	__u32 keep_until; /* then the connections of services with SERVICE_KEPT end; 0: there are none */
};

#define DEFENCE_ALWAYS 3 /* mode of secure_tcp, drop_entry, drop_packet; 0: never, 1 and 2: under pressure */

/*
 * Numbers of buckets, written before loading, and so constants for the verifier. For fronts, which are powers of two,
 * less one.
 */
struct limits {
	__u32 front_mask;
	__u32 connection_buckets;
	__u32 template_buckets;
	__u32 front6_mask;
	__u32 connection6_buckets;
	__u32 outbox_mask; /* records of one CPU in the outbox, a power of two, less one */
};

/* The destination of a front, by the front's number, for records. A mark has the number of its templates. */
struct front_name {
	__u64 address[2];
	__u32 mark; /* with FRONT_NAME_MARK: the firewall mark */
	__u16 port;
	__u8 protocol;
	__u8 flags; /* enum front_name_flag */
};

enum front_name_flag {
	FRONT_NAME_IPV6 = 1,
	FRONT_NAME_MARK = 2, /* connections were found by a mark: they have no address here (fwmark.h) */
};

/* A key of `pm_dest_names`. */
struct dest_name {
	__u64 address[2];
	__u32 service; /* index */
	__u16 port;
	__u16 family; /* 4 or 6 */
};

/*
 * `local_macs`: the addresses of the interfaces the program is attached to: [ifindex % LOCAL_MACS].
 * value: MAC as a little-endian number | (ifindex & 0xffff) << 48; 0: any destination MAC is taken
 */

/* Keys of `pm_virtual_macs` have the same form: further addresses of an interface, of VRRP while it is master. */
#define VIRTUAL_MACS 4096

/* Keep the enumerations in the BTF of the object, where user space reads their names. */
struct vocabulary {
	enum abi abi;
	enum exit_reason exit_reason;
	enum scheduler scheduler;
	enum connection_state connection_state;
	enum layout_number layout_number;
	enum front_bit front_bit;
	enum front_flag front_flag;
	enum service_flag service_flag;
	enum tunnel_flag tunnel_flag;
	enum dest_bit dest_bit;
	enum connection_word connection_word;
	enum template_word template_word;
	enum template_key template_key;
	enum connection_flag connection_flag;
	enum front_name_flag front_name_flag;
	enum record_flag record_flag;
	enum take_flag take_flag;
	enum give_flag give_flag;
	enum take_result take_result;
};

#endif
