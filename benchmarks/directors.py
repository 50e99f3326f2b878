# SPDX-License-Identifier: Apache-2.0
"""Data planes to be measured: on no interface, with generated services and servers."""

from __future__ import annotations

import ipaddress

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.dataplane.xdp.tables import Sizes
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import AddServer, AddService, Operation
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

VIP = ipaddress.IPv4Address("192.168.100.9")
KEY = ServiceKey.of(Transport.TCP, VIP, 80)
KEY6 = ServiceKey.of(Transport.TCP, ipaddress.IPv6Address("fd00:100::9"), 80)


def director(
    scheduler: str = "rr",
    servers: int = 16,
    services: int = 1,
    connections: int = 1 << 20,
    transport: Transport = Transport.TCP,
) -> XdpDataPlane:
    """Return a data plane with a service on VIP:80, with weights 1, 2, 3, 1, ..., and `services` - 1 others.

    For ovf the weights are larger, because they are numbers of connections.
    """
    plane = XdpDataPlane.for_tests(Sizes(connections=connections))
    fill(plane, scheduler, servers, services, transport)
    return plane


def fill(
    plane: XdpDataPlane,
    scheduler: str,
    servers: int,
    services: int = 1,
    transport: Transport = Transport.TCP,
) -> None:
    """Add services to an empty data plane. Raises RuntimeError if it refuses."""
    unit = 1 << 20 if scheduler == "ovf" else 1
    addresses = [ipaddress.IPv4Address("192.168.96.1") + number for number in range(servers)]
    key = ServiceKey.of(transport, VIP, 80)
    operations: list[Operation] = [AddService(VirtualService(key=key, scheduler=scheduler))]
    operations += [
        AddServer(key, RealServer(key=ServerKey(address, 80), weight=(1 + number % 3) * unit))
        for number, address in enumerate(addresses)
    ]
    for number in range(1, services):
        address = ipaddress.IPv4Address("10.128.0.1") + number
        other = ServiceKey.of(Transport.TCP, address, 80)
        operations += [
            AddService(VirtualService(key=other, scheduler="rr")),
            AddServer(other, RealServer(key=ServerKey(addresses[0], 80))),
        ]
    refusals = plane.apply(operations)
    if refusals:
        raise RuntimeError(f"the table was refused: {refusals}")
    plane.set_next_hops(NextHop(address, 1, bytes(6), b"\x02\x00" + address.packed) for address in addresses)


def director6(servers: int = 16, connections: int = 1 << 20) -> XdpDataPlane:
    """Return a data plane with one IPv6 service (rr) and the smallest table for IPv4."""
    plane = XdpDataPlane.for_tests(Sizes(connections=8, connections6=connections))
    addresses = [ipaddress.IPv6Address("fd00:100::100") + number for number in range(servers)]
    operations: list[Operation] = [AddService(VirtualService(key=KEY6, scheduler="rr"))]
    operations += [AddServer(KEY6, RealServer(key=ServerKey(address, 80))) for address in addresses]
    refusals = plane.apply(operations)
    if refusals:
        raise RuntimeError(f"the table was refused: {refusals}")
    plane.set_next_hops(
        NextHop(address, 1, bytes(6), b"\x02\x00" + address.packed[-4:]) for address in addresses
    )
    return plane


def forget(plane: XdpDataPlane) -> None:
    """Let all connections expire."""
    plane.tables.control.now += max(plane.tables.control.timeout) + 1
    plane.tables.control.overflow_until = 0
    libbpf.run_program(plane.programs["sweep_now"])
