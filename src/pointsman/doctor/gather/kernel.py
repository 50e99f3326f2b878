# SPDX-License-Identifier: Apache-2.0
"""Read interfaces, routes, neighbours and sockets from the kernel as the doctor's facts.

Acts on the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from pointsman.doctor.facts import Card, HostRoute, ListenQueue, Neighbour
from pointsman.doctor.gather.backlog import listen_queues
from pointsman.model.address import Address
from pointsman.net.addresses import IFA_PROTOS_OF_VRRP, InterfaceAddress
from pointsman.net.host import Host
from pointsman.net.neighbour_table import PERMANENT

_LISTEN = "0A"
TUNNELS = ("ipip", "gre", "ip6tnl", "ip6gre")
"""Kinds of interfaces that decapsulate IPv4 packets."""


def read_interfaces(host: Host) -> Iterable[Card]:
    """Yield every interface with its addresses, including those that VRRP added."""
    names = host.names()
    by_link: dict[int, list[InterfaceAddress]] = {}
    for each in host.addresses:
        by_link.setdefault(each.index, []).append(each)
    for link in host.links:
        held = by_link.get(link.index, [])
        yield Card(
            name=link.name,
            index=link.index,
            mac="" if link.loopback or len(link.mac) != 6 else link.mac.hex(":"),
            up=link.up,
            running=link.running,
            arp=link.arp,
            loopback=link.loopback,
            mtu=link.mtu,
            lower=names.get(link.lower, "") if link.kind == "macvlan" else "",
            tunnel=link.kind in TUNNELS,
            xdp=link.xdp,
            addresses=tuple(ipaddress.ip_interface((each.address, each.prefix_length)) for each in held),
            moving=tuple(each.address for each in held if each.proto in IFA_PROTOS_OF_VRRP),
        )


def read_routes(host: Host) -> Iterable[HostRoute]:
    """Yield the unicast routes of the main table."""
    names = host.names()
    for route in host.routes:
        yield HostRoute(interface=names.get(route.index, "?"), network=route.network, gateway=route.gateway)


def read_neighbours(host: Host) -> Iterable[Neighbour]:
    """Yield the neighbour table. The MAC address is empty where the kernel has not resolved it."""
    names = host.names()
    for each in host.neighbours:
        yield Neighbour(
            interface=names.get(each.index, "?"),
            address=each.address,
            mac=each.mac.hex(":") if each.mac else "",
            permanent=bool(each.state & PERMANENT),
        )


def read_sources(addresses: Iterable[Address]) -> dict[Address, Address]:
    """Return the source that the kernel chooses for packets to each address. It sends nothing."""
    found: dict[Address, Address] = {}
    for address in addresses:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((str(address), 9))
            found[address] = ipaddress.ip_address(asking.getsockname()[0].partition("%")[0])
    return found


def read_listeners() -> Iterable[tuple[str, int]]:
    """Yield the address and port of every listening TCP socket (proc(5), /proc/net/tcp)."""
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


def read_full_queues() -> list[ListenQueue]:
    """Return the listening TCP sockets whose accept queue is full; none if the kernel has no tcp_diag."""
    try:
        return [each for each in listen_queues() if each.waiting > each.backlog]  # sk_acceptq_is_full()
    except OSError:
        return []


def read_tcp_checksums() -> tuple[int, int]:
    """Return the number of received TCP segments and of those with a wrong checksum (/proc/net/snmp)."""
    rows = [
        line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    ]  # fmt: skip
    values = dict(zip(rows[0], rows[1], strict=False)) if len(rows) == 2 else {}
    return int(values.get("InSegs", 0)), int(values.get("InCsumErrors", 0))
