# SPDX-License-Identifier: Apache-2.0
"""Configuration of virtual servers: services, their real servers and the checks of these."""

from __future__ import annotations

import msgspec

from pointsman.model.checks import (
    BfdCheck,
    DirectCheck,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
)
from pointsman.model.location import Location
from pointsman.model.service import RealServer, VirtualService
from pointsman.model.tracking import Command

AnyCheck = (
    TcpCheck
    | HttpCheck
    | SmtpCheck
    | DnsCheck
    | UdpCheck
    | PingCheck
    | MiscCheck
    | DirectCheck
    | FileCheck
    | BfdCheck
)


class PoolMember(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A real server of a virtual server, with its checks."""

    server: RealServer
    checks: tuple[AnyCheck, ...] = ()
    alpha: bool = False
    """Down until the first check has succeeded."""
    inhibit_on_failure: bool = False
    """A failure sets weight 0 instead of removing the real server."""
    drain: float = 0.0
    """Ours: seconds that a failed real server stays with weight 0 before it is removed."""
    slow_start: float = 0.0
    """Ours: seconds until a returned real server has its full weight."""
    smtp_alert: bool = True
    notify_up: Command | None = None
    notify_down: Command | None = None
    location: Location | None = None


class VirtualServer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A virtual_server block. One with a group gives a service for each address of the group."""

    service: VirtualService
    group: str = ""
    """The virtual_server_group of the service."""
    leads: bool = True
    """True for the one service that reports for its group in logs, mails and programs."""
    members: tuple[PoolMember, ...] = ()
    sorry_server: RealServer | None = None
    sorry_inhibit: bool = False
    """The sorry server stays in the table with weight 0 while it is not needed."""
    ha_suspend: bool = False
    """No probes while the service's address is not on this host."""
    quorum: int = 1
    hysteresis: int = 0
    alpha: bool = False
    omega: bool = False
    initial_notifies: bool = False
    """rs_init_notifies: programs and FIFOs also get the real servers of the start."""
    smtp_alert: bool = False
    quorum_up_command: Command | None = None
    quorum_down_command: Command | None = None
    secure_commands: bool = False
    """enable_script_security, for the programs of this service."""
    location: Location | None = None
