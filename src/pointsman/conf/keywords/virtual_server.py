# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: virtual_server and real_server; checkers are in `checks`."""

from __future__ import annotations

from pointsman.conf.keywords.checks import (
    connect_timeout,
    inherited_timing,
    log_all_failures,
    server_timing,
    timing,
)
from pointsman.conf.keywords.keyword import (
    NO_VALUE,
    ONE,
    OURS,
    Zero,
    accepted,
    honoured,
    in_block,
    obsolete,
    refused,
)
from pointsman.conf.keywords.tracking import program
from pointsman.conf.keywords.values import (
    EVERY_UNSIGNED,
    Anything,
    Boolean,
    Choice,
    Endpoint,
    Flag,
    Granularity,
    Integer,
    Seconds,
    Text,
)
from pointsman.conf.keywords.values_lvs import Method

_SCHEDULERS = Choice(
    ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos")
)
_METHODS = Method()
_MOST_WEIGHT = 2**31 - 1
_MONTH = 31 * 86400
_SERVICES = "that of the virtual server"
_SNMP = "there is no SNMP agent here"

_REMOVAL = [
    honoured(
        "slow_start",
        Seconds(0, _MONTH),
        "time in which a server that comes back gets its full weight",
        "0",
        known_to=OURS,
    ),
    honoured(
        "drain",
        Seconds(0, _MONTH),
        "time that a failed server stays with weight 0, for its connections, before it is removed",
        "0",
        known_to=OURS,
    ),
]

_SCHEDULING = [
    honoured("lvs_sched", _SCHEDULERS, "scheduler", "wlc"),
    honoured("lb_algo", _SCHEDULERS, "old spelling of lvs_sched", "wlc", same_as="lvs_sched"),
    honoured("lvs_method", _METHODS, "how packets reach the real server; NAT is refused here", "NAT"),
    honoured("lb_kind", _METHODS, "old spelling of lvs_method", "NAT", same_as="lvs_method"),
    honoured("protocol", Choice(("TCP", "UDP", "SCTP"), any_case=True), "transport", "UDP"),
    honoured(
        "persistence_timeout",
        Integer(1, _MONTH, "seconds", bare=360),
        "time that a client stays with its real server",
        "off; bare: 360",
        zero=Zero("means no persistence"),
    ),
    honoured(
        "persistence_granularity",
        Granularity(),
        "size of a network whose clients count as one",
        "the whole address",
    ),
    honoured("ops", Flag(), "schedule each UDP packet for itself"),
    honoured("sh-port", Flag(), "source hashing includes the port"),
    honoured("sh-fallback", Flag(), "source hashing goes on to another server when its own is down"),
    honoured("mh-port", Flag(), "Maglev hashing includes the port"),
    honoured("mh-fallback", Flag(), "Maglev hashing goes on to another server when its own is down"),
    honoured("flag-1", Flag(), "first flag of the scheduler"),
    honoured("flag-2", Flag(), "second flag of the scheduler"),
    honoured("flag-3", Flag(), "third flag of the scheduler"),
]

VIRTUAL_SERVER = [
    *in_block(
        "virtual_server",
        *_SCHEDULING,
        honoured("alpha", Flag(), "real servers are down until their first check succeeds", "off"),
        honoured("omega", Flag(), "programs and mails about servers going down at the stop, too", "off"),
        honoured(
            "quorum",
            Integer(1, EVERY_UNSIGNED),
            "weight of living servers that the service needs",
            "1",
            zero=ONE,
        ),
        honoured(
            "hysteresis",
            Integer(0, EVERY_UNSIGNED),
            "the quorum is gained at quorum + N, and lost below quorum - N",
            "0",
        ),
        honoured(
            "inhibit_on_failure", Flag(), "a failed real server gets weight 0, and is not removed", "off"
        ),
        honoured("smtp_alert", Boolean(), "mail when the quorum is gained or lost", "off"),
        honoured(
            "weight",
            Integer(1, _MOST_WEIGHT),
            "weight of real servers that name none",
            "1",
            zero=NO_VALUE,
        ),
        honoured("sorry_server", Endpoint(zero=True), "server to use when too few real servers live"),
        *server_timing(timing("60", "that of the checker", "1", "retry + 1", "delay_loop")),
        connect_timeout("5"),
        *_REMOVAL,
        honoured("real_server", Endpoint(zero=True), "a real server", opens="real_server", repeats=True),
        program("quorum_up", "program to run when the quorum is gained"),
        program("quorum_down", "program to run when the quorum is lost"),
        honoured("ha_suspend", Flag(), "no checks while the address of the service is not on this host"),
        honoured("virtualhost", Text(), "Host header of HTTP checks that name none"),
        accepted("snmp_name", Text(), "name in SNMP", why=_SNMP),
        honoured("ip_family", Choice(("inet", "inet6")), "family of a firewall mark"),
        accepted("hashed", Flag(), "old, without effect", why="an old name without effect"),
        obsolete(
            "nat_mask",
            Anything("a netmask"),
            "netmask of NAT",
            why="it was for NAT of kernel 2.2, and keepalived 2.x does not know it",
        ),
        refused(
            "persistence_engine",
            Text(),
            "another criterion of persistence than the address",
            instead="there are no persistence engines but source addresses; remove it",
        ),
        honoured(
            "sorry_server_inhibit", Flag(), "the sorry server stays, with weight 0, while it is not needed"
        ),
        honoured("sorry_server_lvs_method", _METHODS, "how packets reach the sorry server", "lvs_method"),
        honoured(
            "passive_check",
            Flag(),
            "check a server at once when clients get no answer from it",
            known_to=OURS,
        ),
        honoured(
            "reset_on_removal", Flag(), "clients of a removed server get a reset at once", known_to=OURS
        ),
    ),
    *in_block(
        "real_server",
        *_REMOVAL,
        honoured(
            "reset_on_removal", Boolean(), "clients of a removed server get a reset at once", known_to=OURS
        ),
        honoured(
            "weight", Integer(0, _MOST_WEIGHT), "share of the connections", "weight of the virtual server"
        ),
        honoured(
            "inhibit_on_failure",
            Boolean(),
            "on failure: weight 0, and no removal",
            _SERVICES,
        ),
        honoured("uthreshold", Integer(0, EVERY_UNSIGNED), "most connections; 0: no limit", "0"),
        honoured("lthreshold", Integer(0, EVERY_UNSIGNED), "new connections again below so many", "0"),
        honoured("lvs_method", _METHODS, "how packets reach it", _SERVICES),
        honoured("alpha", Boolean(), "down until the first check succeeds", _SERVICES),
        honoured("smtp_alert", Boolean(), "mail when it goes down or comes back", "on"),
        *server_timing(inherited_timing(_SERVICES)),
        connect_timeout(_SERVICES),
        log_all_failures("checker_log_all_failures", OURS),
        program("notify_up", "program to run when it comes up"),
        program("notify_down", "program to run when it goes down"),
        honoured("virtualhost", Text(), "Host header of HTTP checks that name none", _SERVICES),
        accepted("snmp_name", Text(), "name in SNMP", why=_SNMP),
    ),
]
