"""Routes that move with mastership: add, remove, many in one system call."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping

from pointsman.model.vrrp import VirtualRoute
from pointsman.net.addresses import scope_number
from pointsman.net.links import Link
from pointsman.net.netlink import NLM_F_CREATE, NLM_F_REPLACE, NetlinkSocket, Request, attribute

PROTOCOL = 18
"""RTPROT_KEEPALIVED: how routes of VRRP are known in `ip route`, whoever has made them."""

_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15
_MESSAGE = struct.Struct("=BBBBBBBBI")
_TYPES = {"unicast": 1, "blackhole": 6, "unreachable": 7, "prohibit": 8}
_RTNH_F_ONLINK = 4
_SCOPE_LINK, _SCOPE_UNIVERSE = 253, 0


def assign(
    netlink: NetlinkSocket, links: Mapping[str, Link], wanted: Iterable[VirtualRoute]
) -> list[tuple[VirtualRoute, OSError]]:
    """Put routes into their tables; those that are there stay. What failed comes back."""
    return _carry_out(netlink, links, list(wanted), _RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE)


def withdraw(
    netlink: NetlinkSocket, links: Mapping[str, Link], unwanted: Iterable[VirtualRoute]
) -> list[tuple[VirtualRoute, OSError]]:
    """Take routes away. What failed comes back, also for one that was not there (ESRCH)."""
    return _carry_out(netlink, links, list(unwanted), _RTM_DELROUTE, 0)


def _carry_out(
    netlink: NetlinkSocket, links: Mapping[str, Link], routes: list[VirtualRoute], kind: int, flags: int
) -> list[tuple[VirtualRoute, OSError]]:
    failures: list[tuple[VirtualRoute, OSError]] = []
    requests: list[tuple[VirtualRoute, Request]] = []
    for route in routes:
        if route.device and route.device not in links:
            failures.append((route, OSError(f"interface {route.device} does not exist")))
        else:
            index = links[route.device].index if route.device else 0
            requests.append((route, Request(kind, flags, _payload(route, index))))
    results = netlink.batch([request for _, request in requests])
    pairs = zip(requests, results, strict=True)
    return failures + [(route, error) for (route, _), error in pairs if error is not None]


def _payload(route: VirtualRoute, index: int) -> bytes:
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    direct = family == socket.AF_INET and route.kind == "unicast" and route.gateway is None
    usual = _SCOPE_LINK if direct else _SCOPE_UNIVERSE
    scope = scope_number(route.scope) if route.scope else usual
    flags = _RTNH_F_ONLINK if route.on_link else 0
    # Tables above 255 do not fit into the header; the attribute always counts.
    data = _MESSAGE.pack(family, route.prefix_length, 0, 0, 0, PROTOCOL, scope, _TYPES[route.kind], flags)
    data += attribute(_RTA_TABLE, struct.pack("=I", route.table))
    if route.prefix_length:
        data += attribute(_RTA_DST, route.destination.packed)
    if index:
        data += attribute(_RTA_OIF, struct.pack("=i", index))
    if route.gateway is not None:
        data += attribute(_RTA_GATEWAY, route.gateway.packed)
    if route.source is not None:
        data += attribute(_RTA_PREFSRC, route.source.packed)
    if route.metric:
        data += attribute(_RTA_PRIORITY, struct.pack("=I", route.metric))
    return data
