# SPDX-License-Identifier: Apache-2.0
"""Operations that change a service table: planned by reconcile, applied by a data plane, printed in plans."""

from __future__ import annotations

import msgspec

from pointsman.model.service import RealServer, ServerKey, ServiceKey, VirtualService


class AddService(msgspec.Struct, frozen=True, tag=True):
    service: VirtualService

    def text(self) -> str:
        return f"add service {self.service.key} {self.service.scheduler}"


class EditService(msgspec.Struct, frozen=True, tag=True):
    """Change a service in place. Its key, connections and real servers stay."""

    service: VirtualService

    def text(self) -> str:
        return f"edit service {self.service.key} {self.service.scheduler}"


class DeleteService(msgspec.Struct, frozen=True, tag=True):
    key: ServiceKey

    def text(self) -> str:
        return f"delete service {self.key}"


class AddServer(msgspec.Struct, frozen=True, tag=True):
    service: ServiceKey
    server: RealServer

    def text(self) -> str:
        return f"add server {self.server.key} weight {self.server.weight} to {self.service}"


class EditServer(msgspec.Struct, frozen=True, tag=True):
    """Change a real server in place. Its key, its connections and its place in the list stay."""

    service: ServiceKey
    server: RealServer

    def text(self) -> str:
        return f"edit server {self.server.key} weight {self.server.weight} of {self.service}"


class DeleteServer(msgspec.Struct, frozen=True, tag=True):
    service: ServiceKey
    server: ServerKey

    def text(self) -> str:
        return f"delete server {self.server} from {self.service}"


class Flush(msgspec.Struct, frozen=True, tag=True):
    """Delete every service (ipvsadm -C)."""

    def text(self) -> str:
        return "delete all services"


class ZeroCounters(msgspec.Struct, frozen=True, tag=True):
    """Zero the traffic counters of one service and its servers, or of all (ipvsadm -Z)."""

    key: ServiceKey | None = None

    def text(self) -> str:
        return f"zero counters of {self.key or 'all services'}"


class SetTimeouts(msgspec.Struct, frozen=True, tag=True):
    """Set connection timeouts in seconds (ipvsadm --set). 0 keeps the present value."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0

    def text(self) -> str:
        return f"set timeouts tcp {self.tcp} tcpfin {self.tcp_fin} udp {self.udp}"

    def instead_of(self, before: SetTimeouts) -> SetTimeouts:
        """Return these timeouts as a change from `before`: a value that only `before` sets gets its
        default."""
        return SetTimeouts(
            self.tcp or (DEFAULT_TIMEOUTS.tcp if before.tcp else 0),
            self.tcp_fin or (DEFAULT_TIMEOUTS.tcp_fin if before.tcp_fin else 0),
            self.udp or (DEFAULT_TIMEOUTS.udp if before.udp else 0),
        )


DEFAULT_TIMEOUTS = SetTimeouts(tcp=15 * 60, tcp_fin=2 * 60, udp=5 * 60)
"""Defaults of IPVS (tcp_timeouts and udp_timeouts in net/netfilter/ipvs/ip_vs_proto_{tcp,udp}.c)."""


Operation = (
    AddService
    | EditService
    | DeleteService
    | AddServer
    | EditServer
    | DeleteServer
    | Flush
    | ZeroCounters
    | SetTimeouts
)


def service_of(operation: Operation) -> ServiceKey | None:
    """Return the service that an operation changes; None: it changes all or none."""
    match operation:
        case AddService(service) | EditService(service):
            return service.key
        case AddServer(key, _) | EditServer(key, _) | DeleteServer(key, _):
            return key
        case DeleteService(key) | ZeroCounters(key):
            return key
    return None


class Refusal(msgspec.Struct, frozen=True):
    """An operation that a data plane refused.

    `reason` is one of: exists, no-service, no-server, server-exists, no-scheduler, unsupported, full,
    system.
    """

    operation: Operation
    reason: str
    detail: str = ""

    def text(self) -> str:
        """Return the refusal in words: `cannot add service TCP 10.0.0.1:80 rr: exists`."""
        return f"cannot {self.operation.text()}: {self.detail or self.reason}"
