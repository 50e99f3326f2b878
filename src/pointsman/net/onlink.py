"""How an on-link IPv4 neighbour is reached, asked once: interface, own address, MAC addresses."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys

import msgspec

from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket, attribute, attributes

_RTM_GETROUTE, _RTM_GETNEIGH = 26, 30
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_VALID = 0xDE
_RTN_UNICAST = 1
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


class NotOnLinkError(Exception):
    """This address cannot be reached without a router; the text says why."""


class OnLink(msgspec.Struct, frozen=True):
    """The way to a neighbour."""

    interface: str
    index: int
    mac: bytes
    """Our own on that interface."""
    source: ipaddress.IPv4Address


def way_to(netlink: NetlinkSocket, address: ipaddress.IPv4Address) -> OnLink:
    """The route to a neighbour. Raises NotOnLinkError, OSError."""
    query = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address.packed)
    answer = netlink.get(_RTM_GETROUTE, query)
    if answer is None or _ROUTE.unpack_from(answer.payload)[7] != _RTN_UNICAST:
        raise NotOnLinkError(f"no unicast route to {address}")
    found = attributes(answer.payload, _ROUTE.size)
    index = int.from_bytes(found.get(_RTA_OIF, b""), sys.byteorder)
    source = found.get(_RTA_PREFSRC, b"")
    link = next((link for link in links(netlink).values() if link.index == index), None)
    if _RTA_GATEWAY in found or link is None or len(link.mac) != 6 or len(source) != 4:
        raise NotOnLinkError(f"{address} is not on-link")
    return OnLink(link.name, index, link.mac, ipaddress.IPv4Address(source))


def mac_of(netlink: NetlinkSocket, way: OnLink, address: ipaddress.IPv4Address) -> bytes | None:
    """The neighbour's MAC address as the kernel knows it now; None: it does not. Raises OSError."""
    query = _NEIGHBOUR.pack(socket.AF_INET, way.index, 0, 0, 0) + attribute(_NDA_DST, address.packed)
    try:
        answer = netlink.get(_RTM_GETNEIGH, query)
    except FileNotFoundError:
        return None
    if answer is None or not _NEIGHBOUR.unpack_from(answer.payload)[2] & _NUD_VALID:
        return None
    mac = attributes(answer.payload, _NEIGHBOUR.size).get(_NDA_LLADDR, b"")
    return mac if len(mac) == 6 else None
