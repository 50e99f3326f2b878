# SPDX-License-Identifier: Apache-2.0
"""The path to an on-link neighbour, looked up once, and source addresses that are no virtual addresses.

The kernel takes the newest IPv6 address of the longest common prefix (RFC 6724 section 5, rule 8). On a
master that is a VIP. A real server of direct routing has the VIP itself, so it never answers it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

import msgspec

from pointsman.model.address import Address
from pointsman.net.addresses import InterfaceAddress, addresses
from pointsman.net.links import links
from pointsman.net.neighbour_table import neighbour
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.route_table import UNICAST, route_to

_ANY_PORT = 9
"""Discard port. Connecting a datagram socket sends nothing."""


class NotOnLinkError(Exception):
    """An address that cannot be reached without a router; the text says why."""


class OnLinkPath(msgspec.Struct, frozen=True):
    """The path to a neighbour."""

    interface: str
    index: int
    mac: bytes
    """MAC address of this host on that interface."""
    source: Address
    """Address of this host, of the neighbour's family."""


def path_to(netlink: NetlinkSocket, address: Address, virtual: Address) -> OnLinkPath:
    """Return the path to a neighbour, with a source that is not the VIP. Raises NotOnLinkError, OSError."""
    route = route_to(netlink, address)
    if route is None or route.kind != UNICAST:
        raise NotOnLinkError(f"no unicast route to {address}")
    link = next((link for link in links(netlink).values() if link.index == route.index), None)
    if route.gateway is not None or link is None or len(link.mac) != 6 or route.source is None:
        raise NotOnLinkError(f"{address} is not on-link")
    own = route.source
    if address.version == 6:
        own = _oldest_address(netlink, link.index, address, virtual) or own
    return OnLinkPath(link.name, link.index, link.mac, own)


def _oldest_address(
    netlink: NetlinkSocket, index: int, neighbour: Address, virtual: Address
) -> Address | None:
    """Return this host's oldest address in the neighbour's network that is not a VIP."""
    found = [
        each.address
        for each in addresses(netlink)
        if each.index == index
        and each.address.version == 6
        and each.prefix_length < 128
        and each.proto == 0
        and each.address != virtual
        and neighbour in ipaddress.ip_network(f"{each.address}/{each.prefix_length}", strict=False)
    ]
    return found[-1] if found else None  # the kernel lists the newest first


def mac_of(netlink: NetlinkSocket, path: OnLinkPath, address: Address) -> bytes | None:
    """Return the neighbour's MAC address; None if the kernel does not know it now. Raises OSError."""
    found = neighbour(netlink, path.index, address)
    return None if found is None else found.mac


def kernel_source(destination: Address, interface: str = "", mark: int = 0) -> Address | None:
    """Return the address from which the kernel would send; None: there is no route."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            if interface:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            if mark:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.connect((str(destination), _ANY_PORT))
            return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    except OSError:
        return None


def is_usable(address: Address) -> bool:
    """True if a socket can be bound to this address: IPv6 has finished duplicate address detection."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
    except OSError:
        return False
    return True


def other_sources(
    present: Iterable[InterfaceAddress],
    kernel: Address,
    destination: Address,
    is_virtual: Callable[[Address], bool],
) -> list[Address]:
    """Return the addresses to use in place of `kernel`, a virtual address that the kernel has chosen.

    The best is the first: in the destination's network, then on the same interface, then the oldest.
    """
    listed = list(present)
    index = next((each.index for each in listed if each.address == kernel), 0)
    if destination.version == 6:
        listed.reverse()  # the kernel lists the newest IPv6 address first
    found = [
        each
        for each in listed
        if each.address.version == destination.version
        and not each.address.is_loopback
        and each.address.is_link_local is destination.is_link_local
        and not is_virtual(each.address)
    ]
    found.sort(key=lambda each: (not _shares_network(each, destination), each.index != index))
    return [each.address for each in found]


def _shares_network(own: InterfaceAddress, destination: Address) -> bool:
    return destination in ipaddress.ip_network((own.address, own.prefix_length), strict=False)
