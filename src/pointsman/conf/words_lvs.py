"""Rows of the keyword table: virtual_server, real_server and checkers."""

from __future__ import annotations

from pointsman.conf.keywords import Keyword, accepted, honoured, refused
from pointsman.conf.values import (
    Boolean,
    Choice,
    Endpoint,
    Flag,
    Granularity,
    Integer,
    Ip,
    Seconds,
)

_VS, _RS, _TCP = "virtual_server", "real_server", "TCP_CHECK"
_SCRIPTS = "Pointsman does not run scripts yet; remove it, or keep keepalived for this director"
_CHECKER = "this checker is not implemented yet, the real server would never be checked; use TCP_CHECK"
_MONTH = 31 * 86400

SCHEDULERS = Choice(
    ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos")
)
METHODS = Choice(("DR", "TUN", "NAT"))


def _inherited(block: str) -> list[Keyword]:
    """What a checker takes from its real server, and that from its virtual server."""
    return [
        honoured(block, "delay_loop", Seconds(1e-6, _MONTH), "Between two checks of a server.", 60.0),
        honoured(block, "connect_timeout", Seconds(1e-6, 3600), "How long a connection may take.", 5.0),
        honoured(
            block, "retry", Integer(0, 2**31 - 1), "Failed checks that are repeated before it is down.", 1
        ),
        honoured(block, "delay_before_retry", Seconds(0, _MONTH), "Before a failed check is repeated.", 1.0),
        honoured(
            block, "warmup", Seconds(0, _MONTH), "The first check comes within it; default: delay_loop."
        ),
    ]


LVS: list[Keyword] = [
    honoured(_VS, "lvs_sched", SCHEDULERS, "Scheduler.", "wlc"),
    honoured(_VS, "lb_algo", SCHEDULERS, "Old spelling of lvs_sched.", "wlc", same_as="lvs_sched"),
    honoured(_VS, "lvs_method", METHODS, "Forwarding method; Pointsman does DR.", "NAT"),
    honoured(_VS, "lb_kind", METHODS, "Old spelling of lvs_method.", "NAT", same_as="lvs_method"),
    honoured(
        _VS, "protocol", Choice(("TCP", "UDP", "SCTP"), any_case=True), "Transport; UDP if missing!", "UDP"
    ),
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
    honoured(_VS, "omega", Flag(), "Alerts about servers going down are sent at shutdown, too."),
    honoured(_VS, "quorum", Integer(1, 2**31 - 1), "Weight of living servers that a service needs.", 1),
    honoured(_VS, "hysteresis", Integer(0, 2**31 - 1), "By so much around the quorum nothing changes.", 0),
    honoured(
        _VS, "inhibit_on_failure", Flag(), "A failed real server gets weight 0 instead of being removed."
    ),
    honoured(_VS, "smtp_alert", Boolean(), "Mail when the service loses or gains its quorum."),
    honoured(_VS, "weight", Integer(0, 2**31 - 1), "Weight of real servers that name none.", 1),
    honoured(_VS, "sorry_server", Endpoint(), "Serves when too few real servers live."),
    *_inherited(_VS),
    honoured(_VS, _RS, Endpoint(), "A real server.", opens=_RS, repeats=True),
    *refused(_VS, "quorum_up quorum_down", _SCRIPTS),
    *refused(_VS, "ha_suspend", "checks run on both directors; remove it"),
    *accepted(_VS, "virtualhost snmp_name", "only HTTP checks and SNMP read it"),
    *accepted(
        _VS, "ip_family", "the address tells its family; only firewall marks, which are refused, need it"
    ),
    *accepted(_VS, "hashed", "an old name without effect"),
    *refused(_VS, "persistence_engine", "there are no persistence engines but source addresses; remove it"),
    *refused(
        _VS, "sorry_server_inhibit", "remove it: real servers leave the table before the sorry server comes"
    ),
    honoured(_VS, "sorry_server_lvs_method", METHODS, "Forwarding method of the sorry server."),
    honoured(_RS, "weight", Integer(0, 2**31 - 1), "Share of the connections.", 1),
    honoured(_RS, "inhibit_on_failure", Boolean(), "On failure: weight 0 instead of removal."),
    honoured(_RS, "uthreshold", Integer(0, 2**31 - 1), "No new connections above so many; 0: no limit.", 0),
    honoured(_RS, "lthreshold", Integer(0, 2**31 - 1), "New connections again below so many.", 0),
    honoured(
        _RS, "lvs_method", METHODS, "Forwarding method of this real server.", "that of the virtual server"
    ),
    honoured(_RS, "alpha", Boolean(), "Down until the first check succeeds."),
    honoured(_RS, "smtp_alert", Boolean(), "Mail when it goes down or comes back.", True),
    *_inherited(_RS),
    *refused(_RS, "notify_up notify_down", _SCRIPTS),
    *accepted(_RS, "virtualhost snmp_name log_all_failures", "only HTTP checks and SNMP read it"),
    honoured(_RS, _TCP, Flag(), "Check by a TCP connection.", opens=_TCP, repeats=True),
    *refused(
        _RS,
        "HTTP_GET SSL_GET SMTP_CHECK DNS_CHECK PING_CHECK UDP_CHECK MISC_CHECK FILE_CHECK BFD_CHECK",
        _CHECKER,
    ),
    honoured(_TCP, "connect_ip", Ip(), "Address to connect to; default: the real server's."),
    honoured(_TCP, "connect_port", Integer(1, 65535), "Port to connect to; default: the real server's."),
    honoured(_TCP, "bindto", Ip(), "Source address of the connection."),
    honoured(_TCP, "bind_port", Integer(1, 65535), "Source port of the connection."),
    honoured(_TCP, "alpha", Boolean(), "Down until this check succeeds."),
    honoured(
        _TCP,
        "nb_get_retry",
        Integer(0, 2**31 - 1),
        "Old word of HTTP_GET for retry; keepalived 2.x does not know it in TCP_CHECK.",
    ),
    *_inherited(_TCP),
    *refused(_TCP, "bind_if", "use bindto with an address of that interface"),
    *refused(_TCP, "fwmark", "checks cannot be marked yet; remove it", Integer(0, 2**32 - 1), 0),
    *accepted(_TCP, "log_all_failures", "every failed check is logged with its reason here"),
]
