# SPDX-License-Identifier: Apache-2.0
"""Options and commands of ipvsadm, and their permitted combinations (ipvsadm(8), version 1.31)."""

from __future__ import annotations

from pointsman.lvs.ipvsadm.errors import CommandError
from pointsman.lvs.ipvsadm.popt import Argument, Option

REQUIRED = Argument.REQUIRED

COMMANDS = {
    "add-service": "add-service",
    "edit-service": "edit-service",
    "delete-service": "delete-service",
    "clear": "flush",
    "list": "list",
    "zero": "zero",
    "add-server": "add-server",
    "edit-server": "edit-server",
    "delete-server": "delete-server",
    "set": "set",
    "restore": "restore",
    "save": "save",
    "start-daemon": "start-daemon",
    "stop-daemon": "stop-daemon",
    "help": "help",
    "version": "version",
}
"""Name of a command in messages, by long option."""

OPTIONS = (
    Option("add-service", "A"),
    Option("edit-service", "E"),
    Option("delete-service", "D"),
    Option("clear", "C"),
    Option("list", "L"),
    Option("list", "l"),
    Option("zero", "Z"),
    Option("add-server", "a"),
    Option("edit-server", "e"),
    Option("delete-server", "d"),
    Option("set"),
    Option("restore", "R"),
    Option("save", "S"),
    Option("start-daemon", argument=REQUIRED),
    Option("stop-daemon", argument=REQUIRED),
    Option("help", "h"),
    Option("version", "v"),
    Option("tcp-service", "t", REQUIRED),
    Option("udp-service", "u", REQUIRED),
    Option("sctp-service", argument=REQUIRED),
    Option("fwmark-service", "f", REQUIRED),
    Option("ipv6", "6"),
    Option("scheduler", "s", REQUIRED),
    Option("persistent", "p", Argument.OPTIONAL),
    Option("netmask", "M", REQUIRED),
    Option("pe", argument=REQUIRED),
    Option("ops", "o"),
    Option("sched-flags", "b", REQUIRED),
    Option("real-server", "r", REQUIRED),
    Option("gatewaying", "g"),
    Option("ipip", "i"),
    Option("masquerading", "m"),
    Option("tun-type", argument=REQUIRED),
    Option("tun-port", argument=REQUIRED),
    Option("tun-nocsum"),
    Option("tun-csum"),
    Option("tun-remcsum"),
    Option("weight", "w", REQUIRED),
    Option("u-threshold", "x", REQUIRED),
    Option("l-threshold", "y", REQUIRED),
    Option("numeric", "n"),
    Option("connection", "c"),
    Option("timeout"),
    Option("daemon"),
    Option("stats"),
    Option("rate"),
    Option("thresholds"),
    Option("persistent-conn"),
    Option("tun-info"),
    Option("nosort"),
    Option("sort"),
    Option("exact", "X"),
    Option("mcast-interface", argument=REQUIRED),
    Option("syncid", argument=REQUIRED),
    Option("sync-maxlen", argument=REQUIRED),
    Option("mcast-group", argument=REQUIRED),
    Option("mcast-port", argument=REQUIRED),
    Option("mcast-ttl", argument=REQUIRED),
)

_SHARED_KINDS = {
    "tcp-service": "service-address",
    "udp-service": "service-address",
    "sctp-service": "service-address",
    "fwmark-service": "service-address",
    "gatewaying": "forwarding-method",
    "ipip": "forwarding-method",
    "masquerading": "forwarding-method",
}
UNCOUNTED = frozenset({"sort", "ipv6"})
"""Options that may be repeated and are allowed with every command."""

KINDS = [
    "numeric",
    "connection",
    "service-address",
    "scheduler",
    "persistent",
    "netmask",
    "real-server",
    "forwarding-method",
    "weight",
    "u-threshold",
    "l-threshold",
    "mcast-interface",
    "timeout",
    "daemon",
    "stats",
    "rate",
    "thresholds",
    "persistent-conn",
    "nosort",
    "syncid",
    "exact",
    "ops",
    "pe",
    "sched-flags",
    "mcast-group",
    "mcast-port",
    "mcast-ttl",
    "sync-maxlen",
    "tun-info",
    "tun-type",
    "tun-port",
    "tun-nocsum",
    "tun-csum",
    "tun-remcsum",
]
"""Names of options in messages, in the order of ipvsadm's checks."""

_SERVICE = frozenset(["service-address", "scheduler", "persistent", "netmask", "ops", "pe", "sched-flags"])
_SERVER = frozenset(
    [
        "service-address",
        "real-server",
        "forwarding-method",
        "weight",
        "u-threshold",
        "l-threshold",
        "tun-type",
        "tun-port",
        "tun-nocsum",
        "tun-csum",
        "tun-remcsum",
    ]
)
_LIST = frozenset(
    [
        "numeric",
        "connection",
        "service-address",
        "timeout",
        "daemon",
        "stats",
        "rate",
        "thresholds",
        "persistent-conn",
        "nosort",
        "syncid",
        "exact",
        "tun-info",
    ]
)
_ALLOWED = {
    "add-service": _SERVICE,
    "edit-service": _SERVICE,
    "delete-service": frozenset({"service-address"}),
    "add-server": _SERVER,
    "edit-server": _SERVER,
    "delete-server": frozenset({"service-address", "real-server"}),
    "list": _LIST,
    "zero": frozenset({"service-address"}),
    "save": frozenset({"numeric"}),
    "start-daemon": frozenset(
        ["mcast-interface", "syncid", "sync-maxlen", "mcast-group", "mcast-port", "mcast-ttl"]
    ),
    "stop-daemon": frozenset({"syncid"}),
}
_NEEDED = {
    "add-service": {"service-address"},
    "edit-service": {"service-address"},
    "delete-service": {"service-address"},
    "add-server": {"service-address", "real-server"},
    "edit-server": {"service-address", "real-server"},
    "delete-server": {"service-address", "real-server"},
}
_LIST_ALTERNATIVES = frozenset({"connection", "service-address", "timeout", "daemon"})
_LIST_VIEWS = frozenset({"stats", "rate", "thresholds"})


def kind_of(option: Option) -> str:
    """Return the name of an option in messages."""
    return _SHARED_KINDS.get(option.long, option.long)


def check_together(command: str, kinds: set[str]) -> None:
    """Check the combination of options. Raises CommandError for a missing, illegal or conflicting one."""
    chosen = ""
    for kind in KINDS:
        if kind not in kinds:
            if kind in _NEEDED.get(command, ()):
                raise CommandError(f"You need to supply the '{kind}' option for the '{command}' command")
        elif kind not in _ALLOWED.get(command, ()):
            raise CommandError(f"Illegal '{kind}' option with the '{command}' command")
        elif command == "list" and kind in _LIST_ALTERNATIVES:
            if chosen:
                raise CommandError(
                    f"The option '{kind}' conflicts with the '{chosen}' option in the 'list' command"
                )
            chosen = kind


def check_list_views(kinds: set[str]) -> None:
    """Check that the columns of -L exist in the listing. Raises CommandError."""
    views = _LIST_VIEWS & kinds
    if {"timeout", "daemon"} & kinds and "persistent-conn" in kinds:
        views |= {"persistent-conn"}
    if views and {"connection", "timeout", "daemon"} & kinds:
        raise CommandError("options conflicts in the list command")
