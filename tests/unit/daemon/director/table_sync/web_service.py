# SPDX-License-Identifier: Apache-2.0
"""A service with two real servers, for the tests of this folder."""

from __future__ import annotations

import ipaddress
from typing import Any

from pointsman.control.client_messages import OverrideRequest
from pointsman.control.messages import CheckResult
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

VIP = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 80)
WEB = [ServerKey(ipaddress.ip_address(f"192.168.100.{last}"), 80) for last in (20, 21)]
HAND = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 8000)


def check(server: ServerKey) -> TcpCheck:
    return TcpCheck(connect_address=server.address, connect_port=80)


def config(**options: object) -> Config:
    members = tuple(
        PoolMember(
            server=RealServer(key=key),
            checks=(check(key),),
        )
        for key in WEB
    )
    virtual = VirtualServer(service=VirtualService(key=VIP, scheduler="rr"), members=members, **options)  # type: ignore[arg-type]
    return Config(router_id="lb-01", virtual_servers=(virtual,))


def verdict(server: ServerKey, up: bool) -> CheckResult:
    return CheckResult(VIP, server, check(server).identity, up, "" if up else "connection refused")


def weights(plane: MemoryDataPlane, key: ServiceKey = VIP) -> dict[ServerKey, int]:
    entry = plane.read().get(key)
    assert entry is not None
    return {server.key: server.weight for server in entry.servers}


def by_hand(server: ServerKey, override: Override | None, **more: Any) -> OverrideRequest:
    return OverrideRequest(server=server.address, override=override, **more)
