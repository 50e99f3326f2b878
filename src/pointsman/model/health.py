"""Virtual servers as configured: services with the checks that decide who of their real servers may serve."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location
from pointsman.model.service import RealServer, VirtualService


class TcpCheck(msgspec.Struct, frozen=True, kw_only=True):
    """TCP_CHECK: a handshake with the real server, then close. Every default is already resolved."""

    connect_address: Address
    connect_port: int
    bind_address: Address | None = None
    bind_port: int = 0
    connect_timeout: float = 5.0
    """Seconds, like all times here."""
    retry: int = 1
    """Failed attempts that are repeated before the real server counts as down."""
    delay_before_retry: float = 1.0
    delay_loop: float = 60.0
    warmup: float = 60.0
    """The first check comes at a random moment of this span."""
    location: Location | None = None


Check = TcpCheck


class PoolMember(msgspec.Struct, frozen=True, kw_only=True):
    """A real server of a virtual server, and how it is watched."""

    server: RealServer
    checks: tuple[Check, ...] = ()
    alpha: bool = False
    """Down until the first check has succeeded."""
    inhibit_on_failure: bool = False
    """On failure: weight 0 instead of removal."""
    smtp_alert: bool = True
    location: Location | None = None


class VirtualServer(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual_server block."""

    service: VirtualService
    members: tuple[PoolMember, ...] = ()
    sorry_server: RealServer | None = None
    quorum: int = 1
    hysteresis: int = 0
    alpha: bool = False
    omega: bool = False
    smtp_alert: bool = False
    location: Location | None = None
