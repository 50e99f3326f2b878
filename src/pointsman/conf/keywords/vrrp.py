# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: vrrp_instance and the blocks inside, and garp_group."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import NEWER, OLD, ONE, accepted, honoured, in_block, refused
from pointsman.conf.keywords.tracking import TRACKED, program
from pointsman.conf.keywords.values import (
    EVERY_UNSIGNED,
    Anything,
    Boolean,
    Choice,
    Flag,
    Integer,
    Interface,
    Ip,
    Seconds,
    Text,
)

_EXTRA = Anything("[all] SECONDS", words=2)
_NOTHING = "nothing here depends on it"
_LATE = "a master that was stalled looks before it speaks, always"

_BASICS = [
    honoured(
        "state",
        Choice(("MASTER", "BACKUP")),
        "state at the start, until adverts decide",
        "BACKUP",
        first_counts=True,
    ),
    honoured("interface", Interface(), "interface that speaks VRRP"),
    honoured("virtual_router_id", Integer(1, 255), "number of the virtual router on its link (VRID)"),
    honoured("priority", Integer(1, 255), "the highest one is master", "100, with state MASTER 255"),
    honoured("advert_int", Seconds(0.01, 255), "time between two adverts; whole seconds in version 2", "1"),
    honoured("version", Integer(2, 3), "VRRP version", "vrrp_version", first_counts=True),
    honoured(
        "virtual_ipaddress", Flag(), "addresses that move with mastership", opens="addresses", listing=True
    ),
    honoured("authentication", Flag(), "authentication of version 2", opens="authentication"),
    honoured("unicast_src_ip", Ip(), "source address of unicast adverts", "the interface's address"),
    honoured(
        "unicast_peer", Flag(), "who gets the adverts, in place of multicast", opens="peers", listing=True
    ),
    honoured("mcast_src_ip", Ip(), "source address of multicast adverts", "the interface's address"),
    honoured("nopreempt", Flag(), "do not take over from a lower priority"),
    honoured("preempt", Flag(), "the opposite of nopreempt"),
    honoured("preempt_delay", Seconds(0, 1000), "wait before taking over from a lower priority", "0"),
]

_ANNOUNCING = [
    honoured(
        "garp_master_delay",
        Integer(0, 4294, "seconds"),
        "time until the second burst of gratuitous ARP; 0: none",
        "vrrp_garp_master_delay",
    ),
    honoured(
        "garp_master_repeat",
        Integer(1, 1000),
        "packets of a burst, for each address; keepalived takes more than 1000",
        "vrrp_garp_master_repeat",
        zero=ONE,
    ),
    honoured(
        "garp_master_refresh",
        Integer(0, EVERY_UNSIGNED, "seconds"),
        "time between announcements while master; 0: none",
        "vrrp_garp_master_refresh",
    ),
    honoured(
        "garp_master_refresh_repeat",
        Integer(1, 1000),
        "packets of such an announcement; keepalived takes more than 1000",
        "vrrp_garp_master_refresh_repeat",
        zero=ONE,
    ),
    honoured(
        "garp_lower_prio_delay",
        Integer(0, 4294, "seconds"),
        "time until the second burst after an advert of a lower priority",
        "vrrp_garp_lower_prio_delay",
    ),
    honoured(
        "garp_lower_prio_repeat",
        Integer(0, 1000),
        "packets of a burst after an advert of a lower priority; keepalived takes more than 1000",
        "vrrp_garp_lower_prio_repeat",
    ),
    honoured(
        "garp_extra_if",
        _EXTRA,
        "time between announcements on virtual interfaces (all: any) that send no adverts; 0: none",
        "vrrp_garp_extra_if",
    ),
    honoured("vmac_garp_intvl", _EXTRA, "old spelling of garp_extra_if", same_as="garp_extra_if"),
]

_MORE_TO_MOVE = [
    honoured("smtp_alert", Boolean(), "mail at a change of state", "smtp_alert_vrrp"),
    honoured(
        "virtual_ipaddress_excluded",
        Flag(),
        "addresses that move with mastership, but are not in the adverts",
        opens="addresses",
        listing=True,
    ),
    honoured("virtual_routes", Flag(), "routes that move with mastership", opens="routes", listing=True),
    honoured("virtual_rules", Flag(), "routing rules that move with mastership", opens="rules", listing=True),
    *TRACKED,
    honoured(
        "track_src_ip",
        Flag(),
        "a master is in FAULT while unicast_src_ip or mcast_src_ip is not on this host",
    ),
]

_PROGRAMS = [
    program("notify", "program to run at every change: INSTANCE, name, state and priority"),
    program("notify_master", "program to run on becoming master"),
    program("notify_backup", "program to run on becoming backup"),
    program("notify_fault", "program to run on entering FAULT"),
    program("notify_stop", "program to run at the stop"),
    program("notify_master_rx_lower_pri", "program to run when a master hears a lower priority"),
    program("notify_deleted", "DELETED is told when a reload removes the instance; the program is optional"),
    honoured(
        "notify_priority_changes",
        Boolean(),
        "changes of priority are told to the pipes",
        "vrrp_notify_priority_changes",
    ),
]

_INTERFACES = [
    honoured(
        "use_vmac",
        Anything("[NAME] [MAC] [group N]", words=8),
        "the addresses are on a macvlan with the MAC address of the virtual router (RFC 5798 section 7.3)",
        first_counts=True,
    ),
    honoured("vmac_xmit_base", Flag(), "adverts leave by the interface, not by that of use_vmac"),
    honoured("use_vmac_addr", Flag(), "use_vmac for addresses on other interfaces (dev), too"),
    honoured(
        "use_ipvlan",
        Anything("[NAME] [bridge|private|vepa] [group N]", words=8),
        "the addresses are on an ipvlan with the MAC address of the interface, by which adverts leave",
    ),
    honoured("vrf", Interface(), "VRF that the interface must be in"),
    honoured(
        "dont_track_primary",
        Flag(),
        "go on when the interface is down: a cable between two directors is, when the other one is off",
    ),
    honoured(
        "promote_secondaries",
        Flag(),
        "set the sysctl of the interface: an address that goes takes no others along",
    ),
]

_ADVERTS = [
    honoured("accept", Flag(), "a master accepts packets to the addresses, also in strict mode; the default"),
    honoured(
        "no_accept",
        Flag(),
        "a master drops packets to the addresses unless they are forwarded or it owns them",
    ),
    honoured("strict_mode", Boolean(), "only what the RFC allows", "vrrp_strict"),
    honoured("check_unicast_src", Flag(), "unicast adverts are accepted from peers only"),
    accepted(
        "skip_check_adv_addr",
        Boolean(),
        "compare addresses in adverts once for each master",
        "vrrp_skip_check_adv_addr",
        why="an advert with other addresses is accepted, and logged",
    ),
    honoured(
        "lower_prio_no_advert",
        Boolean(),
        "a master does not answer a lower priority",
        "vrrp_lower_prio_no_advert",
    ),
    accepted(
        "higher_prio_send_advert",
        Boolean(),
        "a master that gives way sends one more advert",
        "vrrp_higher_prio_send_advert",
        why="the winner of a split always announces itself again here",
    ),
    honoured(
        "down_timer_adverts",
        Integer(1, 100),
        "adverts that must be missing before the master is down",
        "vrrp_down_timer_adverts",
    ),
    accepted(
        "unicast_fault_no_peer",
        Flag(),
        "FAULT when no unicast peer can be reached",
        why="unicast_peer without a peer is an error here",
    ),
    honoured(
        "unicast_ttl",
        Integer(1, 255),
        "TTL of unicast adverts; one with TTL 0 does not leave the host",
        "255",
    ),
    honoured(
        "old_unicast_checksum",
        Anything("[never]", words=1),
        "begin with the checksum of keepalived before 1.3.7; both forms are understood",
    ),
    honoured(
        "v3_checksum_as_v2",
        Boolean(),
        "version 3 over IPv4: checksums without pseudo header",
        "off",
        known_to=NEWER,
    ),
    honoured("mcast_dst_ip", Ip(), "multicast group of the adverts", "vrrp_mcast_group4, vrrp_mcast_group6"),
    honoured(
        "owner_ignore_adverts",
        Boolean(),
        "the owner of the addresses ignores adverts of others",
        "vrrp_owner_ignore_adverts",
        known_to=NEWER,
    ),
]

_NO_EFFECT = [
    accepted(
        "no_virtual_ipaddress",
        Flag(),
        "an instance without addresses is intended",
        why="an instance without addresses is allowed",
        known_to=NEWER,
    ),
    accepted(
        "native_ipv6",
        Flag(),
        "VRRP over IPv6",
        why="adverts go over IPv6 when the first virtual address is one",
    ),
    accepted("debug", Integer(0, 4), "level of messages", "0", why=_NOTHING),
    accepted("linkbeat_use_polling", Flag(), "poll the interface for carrier", why=_NOTHING),
    accepted(
        "kernel_rx_buf_size", Integer(0, EVERY_UNSIGNED, "bytes"), "size of the receive buffer", why=_NOTHING
    ),
    accepted(
        "timer_expired_backup",
        Anything("[priority]"),
        "a master whose timers are late becomes backup",
        why=_LATE,
        known_to=NEWER,
    ),
    accepted(
        "thread_timer_expired",
        Anything("[priority]"),
        "old spelling of timer_expired_backup",
        why=_LATE,
        known_to=NEWER,
    ),
    refused(
        "lvs_sync_daemon_inteface",
        Interface(),
        "the same, as keepalived 1.x spelt it",
        instead="remove it, and write connection_sync on both directors, else lasting connections break",
        known_to=OLD,
    ),
    refused(
        "lvs_sync_daemon_interface",
        Interface(),
        "old way to write lvs_sync_daemon",
        instead="remove it, and write connection_sync on both directors, else lasting connections break",
    ),
]

VRRP = [
    *in_block(
        "vrrp_instance",
        *_BASICS,
        *_ANNOUNCING,
        *_MORE_TO_MOVE,
        *_PROGRAMS,
        *_INTERFACES,
        *_ADVERTS,
        *_NO_EFFECT,
        honoured(
            "auth_hmac",
            Flag(),
            "HMAC-SHA256 of adverts, against forgery and replay",
            opens="auth_hmac",
            known_to=NEWER,
        ),
    ),
    *in_block(
        "authentication",
        honoured(
            "auth_type",
            Choice(("PASS", "AH")),
            "PASS: a password in clear text; AH: an IPsec authentication header, HMAC-MD5-96 (RFC 2402)",
        ),
        honoured("auth_pass", Text("a password of up to 8 characters"), "password; only 8 bytes are sent"),
    ),
    *in_block(
        "auth_hmac",
        honoured(
            "key",
            Anything("NUMBER KEY", words=2),
            "key of 32 to 64 bytes: hex:DIGITS, file:PATH, or the bytes themselves",
            repeats=True,
            known_to=NEWER,
        ),
        honoured("active_key", Integer(0, 255), "number of the key to sign with", known_to=NEWER),
        honoured(
            "anti_replay",
            Choice(("time", "monotonic")),
            "time: old adverts are known by their time, so clocks must agree; monotonic: by their order only",
            "time",
            known_to=NEWER,
        ),
        honoured(
            "time_window",
            Integer(1, 300, "seconds"),
            "longest difference of clocks",
            "3 adverts, at least 5",
            known_to=NEWER,
        ),
        honoured(
            "mode",
            Choice(("enforce", "permissive", "receive-only")),
            "permissive: adverts without HMAC are accepted; receive-only: and none is sent, either",
            "enforce",
            known_to=NEWER,
        ),
    ),
    *in_block(
        "garp_group",
        honoured("garp_interval", Seconds(0, 1_000_000), "pause between gratuitous ARP packets", "0"),
        honoured("gna_interval", Seconds(0, 1_000_000), "pause between unsolicited NA packets", "0"),
        honoured("interface", Interface(), "one of the interfaces", repeats=True),
        honoured("interfaces", Flag(), "several of the interfaces", opens="names", listing=True),
    ),
]
