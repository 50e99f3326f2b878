"""How an on-link neighbour is reached, asked once: interface, own address, MAC addresses."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys

import msgspec

from pointsman.model.address import Address
from pointsman.net.addresses import addresses
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
    source: Address
    """Our own, of the neighbour's family."""


def way_to(netlink: NetlinkSocket, address: Address, virtual: Address) -> OnLink:
    """The route to a neighbour, and an address of ours but not the VIP. Raises NotOnLinkError, OSError."""
    head = _ROUTE.pack(_family(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    query = head + attribute(_RTA_DST, address.packed)
    answer = netlink.get(_RTM_GETROUTE, query)
    if answer is None or _ROUTE.unpack_from(answer.payload)[7] != _RTN_UNICAST:
        raise NotOnLinkError(f"no unicast route to {address}")
    found = attributes(answer.payload, _ROUTE.size)
    index = int.from_bytes(found.get(_RTA_OIF, b""), sys.byteorder)
    source = found.get(_RTA_PREFSRC, b"")
    link = next((link for link in links(netlink).values() if link.index == index), None)
    if _RTA_GATEWAY in found or link is None or len(link.mac) != 6 or not source:
        raise NotOnLinkError(f"{address} is not on-link")
    own = ipaddress.ip_address(source)
    if address.version == 6:
        own = _lasting(netlink, index, address, virtual) or own
    return OnLink(link.name, index, link.mac, own)


def _lasting(netlink: NetlinkSocket, index: int, neighbour: Address, virtual: Address) -> Address | None:
    """Our oldest address in the neighbour's network that is no VIP.

    The kernel's own choice for IPv6 is the address most like the destination (RFC 6724 section 5, rule 8).
    That can be a VIP, which the real server has as well: it would never answer. It lists the newest first.
    """
    found = [
        each.address
        for each in addresses(netlink)
        if each.index == index
        and each.address.version == 6
        and each.prefix_length < 128
        and each.mark == 0
        and each.address != virtual
        and neighbour in ipaddress.ip_network(f"{each.address}/{each.prefix_length}", strict=False)
    ]
    return found[-1] if found else None


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def mac_of(netlink: NetlinkSocket, way: OnLink, address: Address) -> bytes | None:
    """The neighbour's MAC address as the kernel knows it now; None: it does not. Raises OSError."""
    query = _NEIGHBOUR.pack(_family(address), way.index, 0, 0, 0) + attribute(_NDA_DST, address.packed)
    try:
        answer = netlink.get(_RTM_GETNEIGH, query)
    except FileNotFoundError:
        return None
    if answer is None or not _NEIGHBOUR.unpack_from(answer.payload)[2] & _NUD_VALID:
        return None
    mac = attributes(answer.payload, _NEIGHBOUR.size).get(_NDA_LLADDR, b"")
    return mac if len(mac) == 6 else None
