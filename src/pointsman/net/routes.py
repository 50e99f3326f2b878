# SPDX-License-Identifier: Apache-2.0
"""Routes of VRRP: add and remove many in one system call; recognise one in a kernel notification."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping

from pointsman.model.address import Address
from pointsman.model.routing import METRICS, RouteHop, VirtualRoute
from pointsman.net.addresses import scope_number
from pointsman.net.encapsulations import encapsulation_attributes
from pointsman.net.links import Link
from pointsman.net.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
)
from pointsman.net.route_table import RTM_DELROUTE, RTM_NEWROUTE

_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 2, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_FLOW, _RTA_TABLE, _RTA_VIA = 8, 9, 11, 15, 18
_RTA_PREF, _RTA_EXPIRES, _RTA_TTL_PROPAGATE = 20, 23, 26
_RTAX_LOCK, _RTAX_CC_ALGO = 1, 16
_MESSAGE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=HBBi")
_TYPES = {
    "unicast": 1,
    "local": 2,
    "broadcast": 3,
    "multicast": 5,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
    "throw": 9,
}
_PREFERENCES = {"medium": 0, "high": 1, "low": 3}
_FLAGS = {
    "prepend": NLM_F_CREATE,
    "append": NLM_F_CREATE | NLM_F_APPEND,
    "add": NLM_F_CREATE | NLM_F_EXCL,
}
_RTNH_F_ONLINK = 4
_SCOPE_HOST, _SCOPE_LINK, _SCOPE_UNIVERSE = 254, 253, 0

Key = tuple[Address | None, int, int, int, int]
"""The identity of a route: destination (None: default), prefix length, family, table, metric."""


def assign(
    netlink: NetlinkSocket, links: Mapping[str, Link], wanted: Iterable[VirtualRoute]
) -> list[tuple[VirtualRoute, OSError]]:
    """Add routes to their tables. Return the failures (EEXIST: the route exists)."""
    return _request_each(netlink, links, list(wanted), RTM_NEWROUTE)


def withdraw(
    netlink: NetlinkSocket, links: Mapping[str, Link], unwanted: Iterable[VirtualRoute]
) -> list[tuple[VirtualRoute, OSError]]:
    """Remove routes. Return the failures (ESRCH: there is no such route)."""
    return _request_each(netlink, links, list(unwanted), RTM_DELROUTE)


def key_of(route: VirtualRoute) -> Key:
    """Return the identity of a route, as the kernel will report it."""
    family = route.destination.version
    # IPv6 has no metric 0: the kernel uses 1024 instead (IP6_RT_PRIO_USER).
    metric = route.metric or (1024 if family == 6 else 0)
    destination = route.destination if route.prefix_length else None
    return destination, route.prefix_length, family, route.table, metric


def parse_key(message: Message) -> Key | None:
    """Return the identity of the route in an RTM_NEWROUTE or RTM_DELROUTE; None for anything else."""
    if message.type not in (RTM_NEWROUTE, RTM_DELROUTE) or len(message.payload) < _MESSAGE.size:
        return None
    family, length, _, _, table, *_ = _MESSAGE.unpack_from(message.payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = attributes(message.payload, _MESSAGE.size)
    packed = found.get(_RTA_DST, b"")
    return (
        ipaddress.ip_address(packed) if packed else None,
        length,
        4 if family == socket.AF_INET else 6,
        *struct.unpack("=I", found.get(_RTA_TABLE, struct.pack("=I", table))),
        *struct.unpack("=I", found.get(_RTA_PRIORITY, bytes(4))),
    )


def _request_each(
    netlink: NetlinkSocket, links: Mapping[str, Link], routes: list[VirtualRoute], kind: int
) -> list[tuple[VirtualRoute, OSError]]:
    failures: list[tuple[VirtualRoute, OSError]] = []
    requests: list[tuple[VirtualRoute, Request]] = []
    for route in routes:
        devices = [name for name in (route.device, *(hop.device for hop in route.hops)) if name]
        if missing := [name for name in devices if name not in links]:
            failures.append((route, OSError(f"interface {missing[0]} does not exist")))
            continue
        indexes = {name: links[name].index for name in devices}
        flags = _FLAGS[route.placing] if kind == RTM_NEWROUTE else 0
        requests.append((route, Request(kind, flags, _payload(route, indexes))))
    results = netlink.batch([request for _, request in requests])
    pairs = zip(requests, results, strict=True)
    return failures + [(route, error) for (route, _), error in pairs if error is not None]


def _payload(route: VirtualRoute, indexes: Mapping[str, int]) -> bytes:
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    flags = _RTNH_F_ONLINK if route.on_link else 0
    source_length = route.source_network.prefixlen if route.source_network else 0
    # Table numbers above 255 do not fit into the header; the attribute overrides it.
    head = (family, route.prefix_length, source_length, route.tos, 0, route.protocol)
    data = _MESSAGE.pack(*head, _scope(route), _TYPES[route.kind], flags)
    data += attribute(_RTA_TABLE, struct.pack("=I", route.table))
    if route.prefix_length:
        data += attribute(_RTA_DST, route.destination.packed)
    if route.source_network is not None and source_length:
        data += attribute(_RTA_SRC, route.source_network.network_address.packed)
    if route.device:
        data += attribute(_RTA_OIF, struct.pack("=i", indexes[route.device]))
    if route.gateway is not None:
        data += _gateway(route.gateway, family)
    if route.source is not None:
        data += attribute(_RTA_PREFSRC, route.source.packed)
    if route.metric:
        data += attribute(_RTA_PRIORITY, struct.pack("=I", route.metric))
    if metrics := _metrics(route):
        data += attribute(_RTA_METRICS, metrics)
    if route.realms:
        data += attribute(_RTA_FLOW, struct.pack("=I", route.realms))
    if route.preference:
        data += attribute(_RTA_PREF, bytes([_PREFERENCES[route.preference]]))
    if route.expires:
        data += attribute(_RTA_EXPIRES, struct.pack("=I", route.expires))
    if route.ttl_propagate is not None:
        data += attribute(_RTA_TTL_PROPAGATE, bytes([route.ttl_propagate]))
    if route.encapsulation is not None:
        data += encapsulation_attributes(route.encapsulation)
    if route.hops:
        data += attribute(_RTA_MULTIPATH, b"".join(_hop(hop, family, indexes) for hop in route.hops))
    return data


def _scope(route: VirtualRoute) -> int:
    """Return iproute2's default: link for directly connected routes, host for local ones (iproute.c)."""
    if route.scope:
        return scope_number(route.scope)
    if route.destination.version == 6:
        return _SCOPE_UNIVERSE
    if route.kind == "local":
        return _SCOPE_HOST
    is_direct = route.gateway is None and not any(hop.gateway for hop in route.hops)
    delivers = route.kind in ("unicast", "broadcast", "multicast")
    return _SCOPE_LINK if is_direct and delivers else _SCOPE_UNIVERSE


def _gateway(gateway: Address, family: int) -> bytes:
    own = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    if own == family:
        return attribute(_RTA_GATEWAY, gateway.packed)
    return attribute(_RTA_VIA, struct.pack("=H", own) + gateway.packed)


def _metrics(route: VirtualRoute) -> bytes:
    data = b""
    if route.locked:
        bits = sum(1 << METRICS[name] for name in route.locked)
        data += attribute(_RTAX_LOCK, struct.pack("=I", bits))
    for name, value in route.metrics:
        data += attribute(METRICS[name], struct.pack("=I", value))
    if route.congestion:
        data += attribute(_RTAX_CC_ALGO, route.congestion.encode() + b"\0")
    return data


def _hop(hop: RouteHop, family: int, indexes: Mapping[str, int]) -> bytes:
    data = _gateway(hop.gateway, family) if hop.gateway is not None else b""
    if hop.encapsulation is not None:
        data += encapsulation_attributes(hop.encapsulation)
    flags = _RTNH_F_ONLINK if hop.on_link else 0
    index = indexes[hop.device] if hop.device else 0
    return _NEXT_HOP.pack(_NEXT_HOP.size + len(data), flags, hop.weight - 1, index) + data
