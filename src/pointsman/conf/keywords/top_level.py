# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: what stands outside blocks."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import OURS, accepted, honoured, in_block, refused
from pointsman.conf.keywords.values import (
    BLOCK_OF_VALUES,
    EVERY_UNSIGNED,
    NAME,
    Anything,
    Flag,
    Integer,
    Text,
)

_NAMESPACE = "start pointsman inside the network namespace instead"
_RUN_FILES = "run files are kept by network namespace"
_CARRIER = "link state comes from netlink"

TOP_LEVEL = in_block(
    "",
    honoured("global_defs", Flag(), "settings of the whole director", opens="global_defs", repeats=True),
    honoured("vrrp_instance", NAME, "a virtual router", opens="vrrp_instance", repeats=True),
    honoured(
        "virtual_server",
        Anything("IP [port], fwmark N or group NAME", words=3),
        "a virtual service and its real servers",
        opens="virtual_server",
        repeats=True,
    ),
    honoured(
        "virtual_server_group",
        NAME,
        "addresses, ranges and firewall marks that one virtual_server serves",
        opens="targets",
        listing=True,
        repeats=True,
    ),
    honoured(
        "static_ipaddress",
        Flag(),
        "addresses that this host always has",
        opens="addresses",
        listing=True,
        repeats=True,
    ),
    honoured(
        "static_routes",
        Flag(),
        "routes that this host always has",
        opens="routes",
        listing=True,
        repeats=True,
    ),
    honoured(
        "static_rules",
        Flag(),
        "routing rules that this host always has",
        opens="rules",
        listing=True,
        repeats=True,
    ),
    honoured(
        "track_group",
        NAME,
        "instances that enter FAULT when a static address, route or rule is lost",
        opens="track_group",
        repeats=True,
    ),
    refused("net_namespace", Text(), "network namespace to run in", instead=_NAMESPACE),
    refused("net_namespace_ipvs", Text(), "network namespace whose IPVS is used", instead=_NAMESPACE),
    refused("namespace_with_ipsets", Flag(), "ipsets exist in the namespace, too", instead=_NAMESPACE),
    refused(
        "interface_up_down_delays",
        BLOCK_OF_VALUES,
        "debounce times of interfaces: IF down-seconds [up-seconds]",
        instead="interface state is followed without delay; remove it",
    ),
    accepted("instance", Text(), "name of this keepalived among several", why=_RUN_FILES),
    accepted("use_pid_dir", Flag(), "PID files in a directory of their own", why=_RUN_FILES),
    accepted("linkbeat_use_polling", Flag(), "poll all interfaces for carrier", why=_CARRIER),
    accepted("linkbeat_interfaces", BLOCK_OF_VALUES, "interfaces to poll for carrier, and how", why=_CARRIER),
    accepted(
        "child_wait_time",
        Integer(0, EVERY_UNSIGNED, "seconds"),
        "time for a child process to end",
        "5",
        why="a process has 10 seconds to end here",
    ),
    honoured(
        "garp_group",
        Flag(),
        "interfaces that share the pauses between announcements",
        opens="garp_group",
        repeats=True,
    ),
    honoured("SSL", Flag(), "key and certificates of SSL_GET", opens="SSL"),
    accepted(
        "include_check",
        Anything("checks"),
        "missing include files that are errors",
        why="every include is checked here",
    ),
    honoured(
        "vrrp_script",
        NAME,
        "a program whose exit code says whether this director is fit to be master",
        opens="vrrp_script",
        repeats=True,
    ),
    honoured("track_file", NAME, "a file whose number changes priorities", opens="track_file", repeats=True),
    honoured(
        "vrrp_track_file",
        NAME,
        "old spelling of track_file",
        opens="track_file",
        repeats=True,
        same_as="track_file",
    ),
    honoured(
        "vrrp_track_process",
        NAME,
        "a process that must run",
        opens="vrrp_track_process",
        repeats=True,
    ),
    honoured(
        "vrrp_sync_group",
        NAME,
        "instances that are master together or not at all",
        opens="vrrp_sync_group",
        repeats=True,
    ),
    honoured(
        "bfd_instance",
        Text("a name", 31),
        "a BFD session with a neighbour",
        opens="bfd_instance",
        repeats=True,
    ),
    honoured(
        "connection_sync",
        Flag(),
        "directors send each other the connections that they carry",
        opens="connection_sync",
        known_to=OURS,
    ),
)
