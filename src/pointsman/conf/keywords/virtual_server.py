"""Rows of the keyword table: virtual_server and real_server; their checkers are in words_checks."""

from __future__ import annotations

from pointsman.conf.keywords.checks import inherited_words, log_all_failures
from pointsman.conf.keywords.keyword import Keyword, accepted, honoured, refused
from pointsman.conf.keywords.values import (
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

_VS, _RS = "virtual_server", "real_server"
_COMMAND = Anything("a command line, and perhaps USER [GROUP]", words=3)
_MONTH = 31 * 86400

SCHEDULERS = Choice(
    ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos")
)
METHODS = Method()
TRANSPORTS = Choice(("TCP", "UDP", "SCTP"), any_case=True)


LVS: list[Keyword] = [
    honoured(_VS, "lvs_sched", SCHEDULERS, "Scheduler.", "wlc"),
    honoured(_VS, "lb_algo", SCHEDULERS, "Old spelling of lvs_sched.", "wlc", same_as="lvs_sched"),
    honoured(_VS, "lvs_method", METHODS, "Forwarding method; Pointsman does DR and TUN.", "NAT"),
    honoured(_VS, "lb_kind", METHODS, "Old spelling of lvs_method.", "NAT", same_as="lvs_method"),
    honoured(_VS, "protocol", TRANSPORTS, "Transport; UDP if missing!", "UDP"),
    honoured(
        _VS,
        "persistence_timeout",
        Integer(1, _MONTH, "seconds", bare=360),
        "A client stays with its real server so long; without the word it does not.",
    ),
    honoured(_VS, "persistence_granularity", Granularity(), "Clients of a network so large count as one."),
    honoured(_VS, "ops", Flag(), "Each UDP packet is scheduled for itself."),
    *(
        honoured(_VS, flag, Flag(), "Flag of the scheduler, as in ipvsadm(8).")
        for flag in ("sh-port", "sh-fallback", "mh-port", "mh-fallback", "flag-1", "flag-2", "flag-3")
    ),
    honoured(_VS, "alpha", Flag(), "Real servers are down until their first check succeeds."),
    honoured(_VS, "omega", Flag(), "Mails and programs about servers going down at the stop, too."),
    honoured(_VS, "quorum", Integer(1, 2**31 - 1), "Weight of living servers that a service needs.", 1),
    honoured(_VS, "hysteresis", Integer(0, 2**31 - 1), "By so much around the quorum nothing changes.", 0),
    honoured(
        _VS, "inhibit_on_failure", Flag(), "A failed real server gets weight 0 instead of being removed."
    ),
    honoured(_VS, "smtp_alert", Boolean(), "Mail when the service loses or gains its quorum."),
    honoured(_VS, "weight", Integer(0, 2**31 - 1), "Weight of real servers that name none.", 1),
    honoured(_VS, "sorry_server", Endpoint(), "Serves when too few real servers live."),
    *inherited_words(_VS),
    *(
        honoured(
            block,
            "slow_start",
            Seconds(0, _MONTH),
            "Ours: in so many seconds a server that comes back gets its weight.",
            0.0,
        )
        for block in (_VS, _RS)
    ),
    honoured(_VS, _RS, Endpoint(), "A real server.", opens=_RS, repeats=True),
    honoured(_VS, "quorum_up", _COMMAND, "Run when the quorum is reached."),
    honoured(_VS, "quorum_down", _COMMAND, "Run when the quorum is lost."),
    honoured(_VS, "ha_suspend", Flag(), "No checks while the service's address is not on this host."),
    honoured(_VS, "virtualhost", Text(), "Host header of HTTP checks that name none."),
    *accepted(_VS, "snmp_name", "there is no SNMP agent here"),
    honoured(_VS, "ip_family", Choice(("inet", "inet6")), "Family of a firewall mark."),
    *accepted(_VS, "hashed", "an old name without effect"),
    *refused(_VS, "persistence_engine", "there are no persistence engines but source addresses; remove it"),
    honoured(
        _VS, "sorry_server_inhibit", Flag(), "The sorry server stays, with weight 0, while it is not needed."
    ),
    honoured(_VS, "sorry_server_lvs_method", METHODS, "Forwarding method of the sorry server."),
    *(
        honoured(
            block,
            "drain",
            Seconds(0, _MONTH),
            "Ours: a failed server keeps its connections so long, with weight 0, before it is removed.",
            0.0,
        )
        for block in (_VS, _RS)
    ),
    honoured(
        _VS, "passive_check", Flag(), "Ours: when clients wait in vain, their server is checked at once."
    ),
    *(
        honoured(block, "reset_on_removal", kind, "Ours: clients of a removed server get a reset at once.")
        for block, kind in ((_VS, Flag()), (_RS, Boolean()))
    ),
    honoured(_RS, "weight", Integer(0, 2**31 - 1), "Share of the connections.", 1),
    honoured(_RS, "inhibit_on_failure", Boolean(), "On failure: weight 0 instead of removal."),
    honoured(_RS, "uthreshold", Integer(0, 2**31 - 1), "No new connections above so many; 0: no limit.", 0),
    honoured(_RS, "lthreshold", Integer(0, 2**31 - 1), "New connections again below so many.", 0),
    honoured(
        _RS, "lvs_method", METHODS, "Forwarding method of this real server.", "that of the virtual server"
    ),
    honoured(_RS, "alpha", Boolean(), "Down until the first check succeeds."),
    honoured(_RS, "smtp_alert", Boolean(), "Mail when it goes down or comes back.", True),
    *inherited_words(_RS),
    log_all_failures(_RS),
    honoured(_RS, "notify_up", _COMMAND, "Run when it comes up."),
    honoured(_RS, "notify_down", _COMMAND, "Run when it goes down."),
    honoured(_RS, "virtualhost", Text(), "Host header of HTTP checks that name none."),
    *accepted(_RS, "snmp_name", "there is no SNMP agent here"),
]
