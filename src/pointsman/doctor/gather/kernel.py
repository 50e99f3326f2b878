"""What the kernel says of interfaces, routes, neighbours and sockets, as the doctor's facts.

Acts on the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from pointsman.doctor.facts import Card, HostRoute, Neighbour
from pointsman.model.address import Address
from pointsman.net.addresses import VRRP_MARKS

_MAIN_TABLE, _UNICAST = 254, 1
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_NOARP = 0x1, 0x8, 0x40, 0x80
_NUD_VALID, _NUD_PERMANENT = 0xDE, 0x80
_LISTEN = "0A"
TUNNELS = ("ipip", "gre", "ip6tnl", "ip6gre")
"""Kinds of links out of which IPv4 packets come."""


def cards(route: IPRoute) -> Iterable[Card]:
    """Every interface, with its addresses and those that VRRP has put on it."""
    addresses: dict[int, list[Any]] = {}
    moving: dict[int, list[Address]] = {}
    for item in route.get_addr():
        text = item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
        addresses.setdefault(item["index"], []).append(ipaddress.ip_interface(f"{text}/{item['prefixlen']}"))
        if item.get_attr("IFA_PROTO") in VRRP_MARKS:
            moving.setdefault(item["index"], []).append(ipaddress.ip_address(text))
    links = list(route.get_links())
    names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in links}
    for link in links:
        information = link.get_attr("IFLA_LINKINFO")
        kind = information.get_attr("IFLA_INFO_KIND") if information is not None else None
        flags, xdp = link["flags"], link.get_attr("IFLA_XDP")
        loopback = bool(flags & _IFF_LOOPBACK)
        mac = str(link.get_attr("IFLA_ADDRESS") or "")
        yield Card(
            name=str(link.get_attr("IFLA_IFNAME")),
            index=link["index"],
            mac="" if loopback or len(mac) != 17 else mac,
            up=bool(flags & _IFF_UP),
            running=bool(flags & _IFF_UP and flags & _IFF_RUNNING),
            arp=not flags & (_IFF_NOARP | _IFF_LOOPBACK),
            loopback=loopback,
            mtu=int(link.get_attr("IFLA_MTU") or 0),
            lower=names.get(link.get_attr("IFLA_LINK"), "") if kind == "macvlan" else "",
            tunnel=kind in TUNNELS,
            xdp=bool(xdp and xdp.get_attr("IFLA_XDP_ATTACHED")),
            addresses=tuple(addresses.get(link["index"], ())),
            moving=tuple(moving.get(link["index"], ())),
        )


def routes(route: IPRoute, names: dict[int, str]) -> Iterable[HostRoute]:
    """The unicast routes of the main table."""
    for item in route.get_routes(table=_MAIN_TABLE):
        index = item.get_attr("RTA_OIF")
        if item["type"] != _UNICAST or index is None:
            continue
        anywhere = "0.0.0.0" if item["family"] == socket.AF_INET else "::"
        gateway = item.get_attr("RTA_GATEWAY")
        yield HostRoute(
            interface=names.get(index, "?"),
            network=ipaddress.ip_network(f"{item.get_attr('RTA_DST') or anywhere}/{item['dst_len']}"),
            gateway=ipaddress.ip_address(gateway) if gateway else None,
        )


def neighbours(route: IPRoute, names: dict[int, str]) -> Iterable[Neighbour]:
    """Who the kernel believes has which address; without a MAC address where it does not know."""
    for item in route.get_neighbours():
        address = item.get_attr("NDA_DST")
        if item["family"] not in (socket.AF_INET, socket.AF_INET6) or not address:
            continue
        valid = bool(item["state"] & _NUD_VALID)
        yield Neighbour(
            interface=names.get(item["ifindex"], "?"),
            address=ipaddress.ip_address(address),
            mac=str(item.get_attr("NDA_LLADDR") or "") if valid else "",
            permanent=bool(item["state"] & _NUD_PERMANENT),
        )


def listeners() -> Iterable[tuple[str, int]]:
    """Address and port of every listening TCP socket; proc(5), /proc/net/tcp."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/thread-self/net", name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] != _LISTEN:
                    continue
                text, _, port = words[1].partition(":")
                packed = b"".join(
                    struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8)
                )
                yield str(ipaddress.ip_address(packed)), int(port, 16)


def checksums() -> tuple[int, int]:
    """TCP segments received, and those with a wrong checksum; /proc/net/snmp."""
    rows = [
        line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    ]  # fmt: skip
    values = dict(zip(rows[0], rows[1], strict=False)) if len(rows) == 2 else {}
    return int(values.get("InSegs", 0)), int(values.get("InCsumErrors", 0))


def number(path: Path) -> int:
    """What a file of /proc has; 0 where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
