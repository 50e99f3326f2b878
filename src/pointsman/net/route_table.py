# SPDX-License-Identifier: Apache-2.0
"""Reading the kernel's routes: the main table, and the route to one address."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys

import msgspec

from pointsman.model.address import Address, Network
from pointsman.net.netlink import Message, NetlinkSocket, attribute, attributes

RTM_NEWROUTE, RTM_DELROUTE = 24, 25
LOCAL = 2
"""RTN_LOCAL: the destination is an address of this host."""
UNICAST = 1

_RTM_GETROUTE = 26
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 7, 8, 15, 18
_RTAX_MTU = 2
_MAIN_TABLE = 254
_MESSAGE = struct.Struct("=BBBBBBBBI")
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 6}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route of the kernel."""

    network: Network
    kind: int
    """rtm_type: `UNICAST`, `LOCAL` ..."""
    index: int = 0
    """Index of the outgoing interface; 0: none, or several next hops."""
    gateway: Address | None = None
    """The next router; None: on-link. It may be of the other family (RTA_VIA)."""
    source: Address | None = None
    """The address of this host that the kernel sends from."""
    mtu: int = 0
    """The MTU of the route itself; 0: it has none."""


def main_routes(netlink: NetlinkSocket) -> list[Route]:
    """Return the unicast routes of the main table that have one outgoing interface. Raises OSError."""
    table = attribute(_RTA_TABLE, struct.pack("=I", _MAIN_TABLE))
    found: list[Route] = []
    for family in _FAMILIES:
        # The kernel leaves out routes of other tables (NETLINK_GET_STRICT_CHK).
        query = _MESSAGE.pack(family, 0, 0, 0, 0, 0, 0, UNICAST, 0) + table
        with contextlib.suppress(FileNotFoundError):  # no route was ever in that table
            found += filter(None, map(parse_route, netlink.dump(_RTM_GETROUTE, query)))
    return [route for route in found if route.kind == UNICAST and route.index]


def route_to(netlink: NetlinkSocket, address: Address) -> Route | None:
    """Return the route that the kernel chooses for an address. Raises OSError (ENETUNREACH: no route)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    query = _MESSAGE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    answer = netlink.get(_RTM_GETROUTE, query + attribute(_RTA_DST, address.packed))
    return None if answer is None else parse_route(answer)


def parse_route(message: Message) -> Route | None:
    """Return the route of an RTM_NEWROUTE or RTM_DELROUTE; None for other messages and families."""
    if message.type not in (RTM_NEWROUTE, RTM_DELROUTE) or len(message.payload) < _MESSAGE.size:
        return None
    family, length, _, _, _, _, _, kind, _ = _MESSAGE.unpack_from(message.payload)
    version = _FAMILIES.get(family)
    if version is None:
        return None
    found = attributes(message.payload, _MESSAGE.size)
    anywhere = bytes(4 if version == 4 else 16)
    metrics = attributes(found.get(_RTA_METRICS, b""), 0)
    return Route(
        network=ipaddress.ip_network((found.get(_RTA_DST, anywhere), length), strict=False),
        kind=kind,
        index=int.from_bytes(found.get(_RTA_OIF, b""), sys.byteorder),
        # RTA_VIA: the gateway's family in two bytes, then its address.
        gateway=_address(found.get(_RTA_GATEWAY, b"") or found.get(_RTA_VIA, b"")[2:]),
        source=_address(found.get(_RTA_PREFSRC, b"")),
        mtu=int.from_bytes(metrics.get(_RTAX_MTU, b""), sys.byteorder),
    )


def _address(packed: bytes) -> Address | None:
    return ipaddress.ip_address(packed) if len(packed) in (4, 16) else None
