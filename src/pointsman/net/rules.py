# SPDX-License-Identifier: Apache-2.0
"""Routing rules of VRRP (linux/fib_rules.h): add and remove; recognise one in a kernel notification."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from pointsman.model.routing import VirtualRule
from pointsman.net.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
)

RTM_NEWRULE, RTM_DELRULE = 32, 33

_MESSAGE = struct.Struct("=BBBBBBBBI")
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_GOTO, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 3, 4, 6, 10
_FRA_FLOW, _FRA_TUN_ID, _FRA_SUPPRESS_IFGROUP, _FRA_SUPPRESS_PREFIXLEN = 11, 12, 13, 14
_FRA_TABLE, _FRA_FWMASK, _FRA_OIFNAME, _FRA_L3MDEV, _FRA_UID_RANGE = 15, 16, 17, 19, 20
_FRA_PROTOCOL, _FRA_IP_PROTO, _FRA_SPORT_RANGE, _FRA_DPORT_RANGE = 21, 22, 23, 24
_ACTIONS = {"table": 1, "goto": 2, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}
_INVERT = 2

Key = tuple[int, int]
"""The identity of a rule: family and preference."""


def assign(netlink: NetlinkSocket, wanted: Iterable[VirtualRule]) -> list[tuple[VirtualRule, OSError]]:
    """Add rules. Return the failures (EEXIST: the rule exists)."""
    return _request_each(netlink, list(wanted), RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL)


def withdraw(netlink: NetlinkSocket, unwanted: Iterable[VirtualRule]) -> list[tuple[VirtualRule, OSError]]:
    """Remove rules. Return the failures (ENOENT: there is no such rule)."""
    return _request_each(netlink, list(unwanted), RTM_DELRULE, 0)


def key_of(rule: VirtualRule) -> Key:
    return rule.family, rule.preference


def parse_key(message: Message) -> Key | None:
    """Return the identity of the rule in an RTM_NEWRULE or RTM_DELRULE; None for anything else."""
    if message.type not in (RTM_NEWRULE, RTM_DELRULE) or len(message.payload) < _MESSAGE.size:
        return None
    family = message.payload[0]
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    packed = attributes(message.payload, _MESSAGE.size).get(_FRA_PRIORITY, bytes(4))
    return (4 if family == socket.AF_INET else 6), *struct.unpack("=I", packed)


def _request_each(
    netlink: NetlinkSocket, rules: list[VirtualRule], kind: int, flags: int
) -> list[tuple[VirtualRule, OSError]]:
    results = netlink.batch([Request(kind, flags, _payload(rule)) for rule in rules])
    return [(rule, error) for rule, error in zip(rules, results, strict=True) if error is not None]


def _payload(rule: VirtualRule) -> bytes:
    family = socket.AF_INET if rule.family == 4 else socket.AF_INET6
    lengths = [each.prefixlen if each else 0 for each in (rule.destination, rule.source)]
    data = _MESSAGE.pack(
        *(family, *lengths, rule.tos, 0, 0, 0),
        *(_ACTIONS[rule.action], _INVERT if rule.inverted else 0),
    )
    for kind, network in ((_FRA_DST, rule.destination), (_FRA_SRC, rule.source)):
        if network is not None and network.prefixlen:
            data += attribute(kind, network.network_address.packed)
    for kind, name in ((_FRA_IIFNAME, rule.incoming), (_FRA_OIFNAME, rule.outgoing)):
        if name:
            data += attribute(kind, name.encode() + b"\0")
    for kind, number in _numbers(rule):
        data += attribute(kind, struct.pack("=I", number))
    for kind, span in ((_FRA_SPORT_RANGE, rule.source_ports), (_FRA_DPORT_RANGE, rule.destination_ports)):
        if span is not None:
            data += attribute(kind, struct.pack("=HH", *span))
    if rule.users is not None:
        data += attribute(_FRA_UID_RANGE, struct.pack("=II", *rule.users))
    if rule.tunnel:
        data += attribute(_FRA_TUN_ID, struct.pack("!Q", rule.tunnel))
    if rule.ip_protocol:
        data += attribute(_FRA_IP_PROTO, bytes([rule.ip_protocol]))
    if rule.l3mdev:
        data += attribute(_FRA_L3MDEV, b"\1")
    return data + attribute(_FRA_PROTOCOL, bytes([rule.protocol]))


def _numbers(rule: VirtualRule) -> list[tuple[int, int]]:
    numbers = [(_FRA_PRIORITY, rule.preference)]
    if rule.action == "table" and not rule.l3mdev:
        numbers.append((_FRA_TABLE, rule.table))
    if rule.action == "goto":
        numbers.append((_FRA_GOTO, rule.target))
    if rule.mark or rule.mask is not None:
        numbers.append((_FRA_FWMARK, rule.mark))
    if rule.mask is not None:
        numbers.append((_FRA_FWMASK, rule.mask))
    if rule.realms:
        numbers.append((_FRA_FLOW, rule.realms))
    if rule.suppress_prefix_length is not None:
        numbers.append((_FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefix_length))
    if rule.suppress_group is not None:
        numbers.append((_FRA_SUPPRESS_IFGROUP, rule.suppress_group))
    return numbers
