"""Rows of the keyword table: vrrp_instance and the blocks inside."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import Keyword, accepted, honoured, refused
from pointsman.conf.keywords.values import (
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

_V = "vrrp_instance"
_A, _H = "authentication", "auth_hmac"
_COMMAND = Anything("a command line, in quotes when it has arguments", words=3)

VRRP: list[Keyword] = [
    honoured(
        _V, "state", Choice(("MASTER", "BACKUP")), "State at the start, until adverts decide.", "BACKUP"
    ),
    honoured(_V, "interface", Interface(), "The interface that speaks VRRP."),
    honoured(_V, "virtual_router_id", Integer(1, 255), "Number of the virtual router on its link (VRID)."),
    honoured(
        _V, "priority", Integer(1, 255), "The highest one is master; default 100, with state MASTER 255.", 100
    ),
    honoured(_V, "advert_int", Seconds(0.01, 255), "Between two adverts; whole seconds in version 2.", 1.0),
    honoured(_V, "version", Integer(2, 3), "VRRP version; default: vrrp_version."),
    honoured(
        _V,
        "virtual_ipaddress",
        Flag(),
        "Addresses that move with mastership.",
        opens="addresses",
        listing=True,
    ),
    honoured(_V, _A, Flag(), "Authentication of VRRP version 2.", opens=_A),
    honoured(
        _A,
        "auth_type",
        Choice(("PASS", "AH")),
        "PASS: a password in clear text. AH: an IPsec authentication header, HMAC-MD5-96.",
    ),
    honoured(_A, "auth_pass", Text("a password of up to 8 characters"), "The password; only 8 bytes travel."),
    honoured(_V, "unicast_src_ip", Ip(), "Source address of unicast adverts; default: the interface's own."),
    honoured(
        _V, "unicast_peer", Flag(), "Who gets the adverts, instead of multicast.", opens="peers", listing=True
    ),
    honoured(_V, "mcast_src_ip", Ip(), "Source address of multicast adverts."),
    honoured(_V, "nopreempt", Flag(), "A router with a higher priority lets the present master be."),
    honoured(_V, "preempt", Flag(), "The opposite of nopreempt, and the default."),
    honoured(
        _V,
        "preempt_delay",
        Seconds(0, 1000),
        "Seconds to wait before taking over from a lower priority.",
        0.0,
    ),
    honoured(
        _V,
        "garp_master_delay",
        Integer(0, 3600, "seconds"),
        "Until the second burst of gratuitous ARP; 0: none. Default: vrrp_garp_master_delay.",
    ),
    honoured(
        _V, "garp_master_repeat", Integer(1, 255), "Gratuitous ARP packets of a burst, for each address."
    ),
    honoured(
        _V,
        "garp_master_refresh",
        Integer(0, 86400, "seconds"),
        "Between announcements while master; 0: none.",
    ),
    honoured(_V, "garp_master_refresh_repeat", Integer(1, 255), "Packets of such an announcement."),
    honoured(_V, "smtp_alert", Boolean(), "Mail when the state changes."),
    honoured(
        _V,
        "virtual_ipaddress_excluded",
        Flag(),
        "The same, but no advert names them.",
        opens="addresses",
        listing=True,
    ),
    honoured(_V, "virtual_routes", Flag(), "Routes that move with mastership.", opens="routes", listing=True),
    honoured(
        _V,
        "virtual_rules",
        Flag(),
        "Routing rules that move with mastership.",
        opens="rules",
        listing=True,
    ),
    honoured(_V, "track_script", Flag(), "NAME [weight N] [reverse] lines.", opens="tracked", listing=True),
    honoured(_V, "track_interface", Flag(), "IF [weight N] [reverse] lines.", opens="tracked", listing=True),
    honoured(_V, "track_file", Flag(), "NAME [weight N] [reverse] lines.", opens="tracked", listing=True),
    honoured(_V, "track_process", Flag(), "NAME [weight N] [reverse] lines.", opens="tracked", listing=True),
    honoured(_V, "track_bfd", Flag(), "NAME [weight N] [reverse] lines.", opens="tracked", listing=True),
    honoured(
        _V,
        "track_src_ip",
        Flag(),
        "A master is in FAULT while unicast_src_ip or mcast_src_ip is no address of this host.",
    ),
    honoured(_V, "notify", _COMMAND, "Run at every change with INSTANCE, name, state and priority."),
    honoured(_V, "notify_master", _COMMAND, "Run when it has become master."),
    honoured(_V, "notify_backup", _COMMAND, "Run when it has become backup."),
    honoured(_V, "notify_fault", _COMMAND, "Run when it cannot work."),
    honoured(_V, "notify_stop", _COMMAND, "Run at the end."),
    honoured(
        _V, "notify_master_rx_lower_pri", _COMMAND, "Run when a master hears an advert of a lower priority."
    ),
    honoured(_V, "notify_deleted", _COMMAND, "Told as DELETED when a reload removes it; may name a program."),
    honoured(_V, "notify_priority_changes", Boolean(), "FIFOs are told changes of priority, too."),
    honoured(
        _V,
        "use_vmac",
        Anything("[NAME] [MAC] [group N]", words=8),
        "The addresses live on a macvlan with the virtual router's MAC address (RFC 5798 section 7.3).",
    ),
    honoured(_V, "vmac_xmit_base", Flag(), "Adverts leave by the interface, not by that of use_vmac."),
    honoured(_V, "use_vmac_addr", Flag(), "The same for addresses on other interfaces (dev)."),
    honoured(
        _V,
        "use_ipvlan",
        Anything("[NAME] [bridge|private|vepa] [group N]", words=8),
        "The addresses live on an ipvlan, with the interface's MAC address; adverts leave by the interface.",
    ),
    honoured(
        _V, "vrf", Interface(), "The interface has to be in this VRF; virtual ones follow it by themselves."
    ),
    *accepted(_V, "dont_track_primary", "an interface that is down cannot speak VRRP; it is always watched"),
    *(
        honoured(
            _V,
            word,
            Anything("[all] SECONDS", words=2),
            "Between announcements on virtual interfaces (all: any) that no adverts leave by; 0: none.",
            same_as="garp_extra_if",
        )
        for word in ("garp_extra_if", "vmac_garp_intvl")
    ),
    honoured(
        _V,
        "garp_lower_prio_delay",
        Integer(0, 86400, "seconds"),
        "Until the second burst after an advert of a lower priority; default: garp_master_delay.",
    ),
    honoured(
        _V,
        "garp_lower_prio_repeat",
        Integer(0, 1000),
        "Packets of a burst after an advert of a lower priority; default: garp_master_repeat.",
    ),
    honoured(_V, "accept", Flag(), "The master takes packets to the addresses, also in strict mode; usual."),
    honoured(
        _V,
        "no_accept",
        Flag(),
        "Packets to the addresses that are not forwarded are dropped, unless the priority is 255.",
    ),
    honoured(_V, "strict_mode", Boolean(), "What the RFC does not know is an error."),
    honoured(_V, "check_unicast_src", Flag(), "Drop unicast adverts of hosts that are not in unicast_peer."),
    *accepted(_V, "skip_check_adv_addr", "an advert with other addresses is accepted, and logged"),
    honoured(
        _V,
        "promote_secondaries",
        Flag(),
        "Sets the interface's sysctl: an address that goes does not take others of its network along.",
    ),
    honoured(_V, "lower_prio_no_advert", Boolean(), "A master does not answer adverts of a lower priority."),
    *accepted(_V, "higher_prio_send_advert", "the winner of a split always announces itself again here"),
    honoured(_V, "down_timer_adverts", Integer(1, 100), "Adverts to miss before the master counts as gone."),
    *accepted(_V, "unicast_fault_no_peer", "unicast_peer without a peer is an error here"),
    honoured(_V, "unicast_ttl", Integer(1, 255), "TTL of unicast adverts; multicast ones have 255.", 255),
    honoured(
        _V,
        "old_unicast_checksum",
        Anything("[never]", words=1),
        "Begin with the checksum of keepalived before 1.3.7; what a peer sends is understood anyway.",
    ),
    honoured(_V, "v3_checksum_as_v2", Boolean(), "Version 3 over IPv4: checksums without pseudo header."),
    honoured(_V, "mcast_dst_ip", Ip(), "The multicast group, in place of 224.0.0.18 or ff02::12."),
    *accepted(_V, "no_virtual_ipaddress", "an instance without addresses is allowed"),
    *accepted(_V, "native_ipv6", "adverts go over IPv6 when the first virtual address is one"),
    *accepted(_V, "debug linkbeat_use_polling kernel_rx_buf_size", "nothing here depends on it"),
    *accepted(
        _V,
        "timer_expired_backup thread_timer_expired",
        "a master that was stalled looks before it speaks, always",
    ),
    honoured(
        _V, "owner_ignore_adverts", Boolean(), "A router of priority 255 ignores the adverts of others."
    ),
    *refused(
        _V,
        "lvs_sync_daemon_interface",
        "connections are not synchronized yet; after a fail-over they would break",
    ),
    honoured(_V, _H, Flag(), "Adverts with an HMAC-SHA256 against forgery and replay.", opens=_H),
    honoured(
        _H,
        "key",
        Anything("NUMBER KEY", words=2),
        "A key of 32 to 64 bytes: in hexadecimal behind hex:, in a file behind file:, or as it is.",
        repeats=True,
    ),
    honoured(_H, "active_key", Integer(0, 255), "The number of the key to sign with."),
    honoured(
        _H,
        "anti_replay",
        Choice(("time", "monotonic")),
        "time: old adverts are known by their time, so clocks must agree. monotonic: by order only.",
        "time",
    ),
    honoured(
        _H,
        "time_window",
        Integer(1, 300, "seconds"),
        "How far clocks may differ; usual: 3 adverts, at least 5.",
    ),
    honoured(
        _H,
        "mode",
        Choice(("enforce", "permissive", "receive-only")),
        "permissive: adverts without HMAC are listened to. receive-only: and none is sent, either.",
        "enforce",
    ),
]
