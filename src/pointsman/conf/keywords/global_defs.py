# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: global_defs, without what has no effect here (`global_no_effect`)."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import NEWER, OLD, ONE, OURS, honoured, in_block, refused
from pointsman.conf.keywords.values import (
    COMMAND,
    EVERY_UNSIGNED,
    OWNER,
    PATH,
    Anything,
    Boolean,
    Choice,
    Flag,
    HostPort,
    Integer,
    Interface,
    Ip,
    Seconds,
    Text,
    Words,
)
from pointsman.conf.keywords.values_lvs import Timeouts

_FIFO = Anything("PATH [USER [GROUP]]", words=3)
_EXTRA = Anything("[all] SECONDS", words=2)
_SCRIPTS = "let the unit run it, by ExecStartPre= and ExecStopPost= of pointsman.service, and remove it here"

_MAIL = [
    honoured("router_id", Text(), "name of this director in mails", "the host's name"),
    honoured(
        "lvs_id",
        Text(),
        "old spelling of router_id",
        same_as="router_id",
        warns=True,
        known_to=OLD,
    ),
    honoured("notification_email", Flag(), "addresses that get the alerts", opens="addresses", listing=True),
    honoured("notification_email_from", Words("a mail address"), "sender of the alerts", "user@host"),
    honoured("smtp_server", HostPort(), "mail server, port 25 unless given; without it no mail is sent"),
    honoured("smtp_helo_name", Text("a host name"), "name said to the mail server", "the host's name"),
    honoured(
        "smtp_connect_timeout",
        Integer(1, 4294, "seconds"),
        "longest wait for the mail server",
        "30",
        zero=ONE,
    ),
    honoured(
        "smtp_tls",
        Choice(("none", "starttls", "implicit")),
        "encryption towards the mail server; implicit is that of port 465",
        "none",
        known_to=OURS,
    ),
    honoured(
        "smtp_tls_verify", Boolean(), "the mail server's certificate must be valid", "on", known_to=OURS
    ),
    honoured("smtp_tls_ca", PATH, "certificates to trust", "the system's", known_to=OURS),
    honoured("smtp_auth", Anything("USER PASSWORD", words=2), "log in to the mail server", known_to=OURS),
    honoured("smtp_alert", Boolean(), "mails of all kinds"),
    honoured("smtp_alert_vrrp", Boolean(), "mails about VRRP instances", "smtp_alert, else off"),
    honoured(
        "smtp_alert_checker",
        Boolean(),
        "mails about virtual and real servers",
        "smtp_alert, else real servers only",
    ),
    honoured("no_checker_emails", Flag(), "no mails about virtual and real servers"),
]

_PROGRAMS = [
    honoured("script_user", OWNER, "owner of scripts that name none", "keepalived_script, else root"),
    honoured("enable_script_security", Flag(), "run no script as root that others than root can change"),
    refused("startup_script", COMMAND, "program to run before everything else", instead=_SCRIPTS),
    refused("shutdown_script", COMMAND, "program to run after everything else", instead=_SCRIPTS),
    honoured("lvs_notify_fifo", _FIFO, "named pipe that gets a line at every change of a server"),
    honoured("lvs_notify_fifo_script", COMMAND, "program that reads lvs_notify_fifo, its last argument"),
    honoured("notify_fifo", _FIFO, "named pipe that gets a line at every change"),
    honoured("notify_fifo_script", COMMAND, "program that reads notify_fifo, its last argument"),
    honoured(
        "vrrp_notify_fifo", _FIFO, "named pipe that gets a line at every change of an instance or a group"
    ),
    honoured("vrrp_notify_fifo_script", COMMAND, "program that reads vrrp_notify_fifo, its last argument"),
    honoured(
        "vrrp_notify_priority_changes", Boolean(), "changes of priority are written to the pipes", "off"
    ),
    honoured("fifo_write_vrrp_states_on_reload", Flag(), "all states are written to the pipes at a reload"),
    honoured(
        "rs_init_notifies",
        Boolean(),
        "programs and pipes are told of the first state of a server, too",
        "off",
    ),
]

_VRRP = [
    honoured("vrrp_version", Integer(2, 3), "VRRP version of instances that name none", "2"),
    honoured("vrrp_mcast_group4", Ip(), "multicast group of adverts over IPv4", "224.0.0.18"),
    honoured("vrrp_mcast_group6", Ip(), "multicast group of adverts over IPv6", "ff02::12"),
    honoured("default_interface", Interface(), "interface of static addresses that name none", "eth0"),
    honoured(
        "vrrp_garp_master_delay",
        Integer(0, 4294, "seconds"),
        "time until the second burst of gratuitous ARP; 0: none",
        "5",
    ),
    honoured(
        "vrrp_garp_master_repeat",
        Integer(1, 1000),
        "packets of a burst, for each address; keepalived takes more than 1000",
        "5",
        zero=ONE,
    ),
    honoured(
        "vrrp_garp_master_refresh",
        Integer(0, EVERY_UNSIGNED, "seconds"),
        "time between announcements while master; 0: none",
        "0",
    ),
    honoured(
        "vrrp_garp_master_refresh_repeat",
        Integer(1, 1000),
        "packets of such an announcement; keepalived takes more than 1000",
        "1",
        zero=ONE,
    ),
    honoured(
        "vrrp_garp_lower_prio_delay",
        Integer(0, 4294, "seconds"),
        "time until the second burst after an advert of a lower priority",
        "vrrp_garp_master_delay",
    ),
    honoured(
        "vrrp_garp_lower_prio_repeat",
        Integer(0, 1000),
        "packets of a burst after an advert of a lower priority; keepalived takes more than 1000",
        "vrrp_garp_master_repeat",
    ),
    honoured(
        "vrrp_garp_interval",
        Seconds(0, 1_000_000),
        "pause between gratuitous ARP packets of an interface",
        "0",
    ),
    honoured(
        "vrrp_gna_interval",
        Seconds(0, 1_000_000),
        "pause between unsolicited NA packets of an interface",
        "0",
    ),
    honoured(
        "vrrp_garp_extra_if",
        _EXTRA,
        "time between announcements on virtual interfaces (all: any) that send no adverts; 0: none",
    ),
    honoured(
        "vrrp_vmac_garp_intvl", _EXTRA, "old spelling of vrrp_garp_extra_if", same_as="vrrp_garp_extra_if"
    ),
    honoured(
        "vrrp_down_timer_adverts",
        Integer(1, 100),
        "adverts that must be missing before the master is down",
        "3",
    ),
    honoured("vrrp_lower_prio_no_advert", Boolean(), "a master does not answer a lower priority", "off"),
    honoured(
        "vrrp_owner_ignore_adverts",
        Boolean(),
        "the owner of the addresses ignores adverts of others",
        "off",
        known_to=NEWER,
    ),
    honoured(
        "v3_checksum_as_v2",
        Boolean(),
        "version 3 over IPv4: checksums without pseudo header",
        "off",
        known_to=NEWER,
    ),
    honoured("vrrp_check_unicast_src", Flag(), "unicast adverts are accepted from peers only"),
    honoured("vrrp_strict", Flag(), "only what the RFC allows"),
    honoured("vrrp_startup_delay", Seconds(0, 86400), "wait before VRRP starts", "0"),
    refused(
        "vrrp_delay_after_boot",
        Seconds(0, 86400),
        "time from the boot until VRRP starts",
        "0",
        instead="let the service manager delay the start",
        known_to=NEWER,
    ),
    honoured("vmac_prefix", Text("a word", 8), "first part of names of virtual MAC interfaces", "vrrp"),
    honoured(
        "vmac_addr_prefix", Text("a word", 8), "the same for virtual MAC interfaces of single addresses"
    ),
    honoured(
        "dynamic_interfaces",
        Anything("[allow_if_changes]", words=1),
        "interfaces of instances may come after the start",
        "off",
    ),
]

_LVS = [
    honoured("checker_log_all_failures", Boolean(), "log every failed check, not only the last one", "off"),
    honoured(
        "nftables_ipvs",
        Anything("[TABLE]", words=1),
        "each virtual_server_group is one service with one mark; here it needs no nftables",
        "keepalived_ipvs",
    ),
    honoured(
        "nftables_ipvs_start_fwmark", Integer(1, EVERY_UNSIGNED), "first mark of these services", "1000"
    ),
    refused(
        "lvs_sync_daemon",
        Anything("IF [VRRP] [id N] [maxlen N] [port N] [ttl N] [group IP]"),
        "copy connections to other directors",
        instead="remove it, and write connection_sync on both directors, else lasting connections break",
    ),
    honoured(
        "connection_grace",
        Integer(0, 60, "seconds"),
        "after a take-over, a packet of an unknown established connection is not refused for this long",
        "5 with connection_sync, else 0",
        known_to=OURS,
    ),
    honoured("lvs_timeouts", Timeouts(), "time after which an idle connection is forgotten; 0: as it is"),
]

GLOBAL_DEFS = in_block("global_defs", *_MAIL, *_PROGRAMS, *_VRRP, *_LVS)
