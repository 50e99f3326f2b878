"""How an on-link neighbour is reached, asked once: interface, own address, MAC addresses."""

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
    route = route_to(netlink, address)
    if route is None or route.kind != UNICAST:
        raise NotOnLinkError(f"no unicast route to {address}")
    link = next((link for link in links(netlink).values() if link.index == route.index), None)
    if route.gateway is not None or link is None or len(link.mac) != 6 or route.source is None:
        raise NotOnLinkError(f"{address} is not on-link")
    own = route.source
    if address.version == 6:
        own = _lasting(netlink, link.index, address, virtual) or own
    return OnLink(link.name, link.index, link.mac, own)


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


def mac_of(netlink: NetlinkSocket, way: OnLink, address: Address) -> bytes | None:
    """The neighbour's MAC address as the kernel knows it now; None: it does not. Raises OSError."""
    found = neighbour(netlink, way.index, address)
    return None if found is None else found.mac
