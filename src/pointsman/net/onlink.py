# SPDX-License-Identifier: Apache-2.0
"""The path to an on-link neighbour, looked up once: interface, own address, MAC addresses."""

from __future__ import annotations

import ipaddress

import msgspec

from pointsman.model.address import Address
from pointsman.net.addresses import addresses
from pointsman.net.links import links
from pointsman.net.neighbour_table import neighbour
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.route_table import UNICAST, route_to


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
    """Return this host's oldest address in the neighbour's network that is not a VIP.

    For IPv6 the kernel chooses the source with the longest prefix in common with the destination (RFC 6724
    section 5, rule 8). That can be a VIP. The real server has the VIP too, so it would never reply.
    """
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
