# SPDX-License-Identifier: Apache-2.0
"""A data plane in memory that forwards nothing: for tests and for dry runs of a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set

from pointsman.dataplane.interface import Capabilities, TakeCounts
from pointsman.lvs.reconcile import apply_to
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import (
    DeleteServer,
    DeleteService,
    Flush,
    Operation,
    Refusal,
    SetTimeouts,
    ZeroCounters,
)
from pointsman.model.service import Forwarding, RealServer, ServerKey, ServiceEntry, ServiceKey, ServiceTable
from pointsman.model.traffic import (
    Connection,
    Counters,
    PassiveCounters,
    ServerCounters,
    ServiceCounters,
    Traffic,
    Unanswered,
)

SCHEDULERS = frozenset(
    {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}
)
"""The schedulers of Debian's kernel."""

TIMEOUTS = (900, 120, 300)
"""Seconds for tcp, tcpfin and udp: the kernel's defaults (ip_vs_proto_tcp.c, ip_vs_proto_udp.c)."""

ServerCell = tuple[ServiceKey, ServerKey]


class UnattendedInMemory:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.grace: dict[ServiceKey, int | None] = {}
        self.known = 0
        """Connections; tests set them in place of packets."""
        self._kept: frozenset[ServiceKey] = frozenset()
        self._seconds = 0

    def keep(self, services: Collection[ServiceKey], seconds: int) -> None:
        self._kept, self._seconds = frozenset(services), seconds

    def kept(self) -> frozenset[ServiceKey]:
        return self._kept

    def connections(self) -> int:
        return self.known

    def seconds_left(self) -> int:
        return self._seconds

    def resume(self) -> None:
        self.keep((), 0)

    def set_grace(self, seconds: Mapping[ServiceKey, int | None]) -> None:
        self.grace |= seconds


class MemoryDataPlane:
    """A DataPlane that keeps the table, and the counters that `record` sets."""

    def __init__(self, table: ServiceTable | None = None, schedulers: Set[str] = SCHEDULERS) -> None:
        self._entries = {entry.service.key: entry for entry in table or ()}
        self._table = table
        """The table, until it changes."""
        self._schedulers = frozenset(schedulers)
        self._timeouts = TIMEOUTS
        self._counted: dict[ServerCell, ServerCounters] = {}
        self.passive: dict[ServerCell, PassiveCounters] = {}
        """The passive counters; tests set them in place of packets."""
        self.left_unanswered: dict[ServerCell, Unanswered] = {}
        """The unanswered connections; tests set them in place of packets."""
        self.next_hops: tuple[NextHop, ...] = ()
        self.virtual_macs: frozenset[tuple[str, bytes]] = frozenset()
        self.closed = False
        self.is_fresh = table is None
        self.unattended = UnattendedInMemory()

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="memory",
            schedulers=self._schedulers,
            forwarding=frozenset(method.value for method in Forwarding),
        )

    def read(self) -> ServiceTable:
        """Return the table; services and real servers are in the order in which they were added."""
        if self._table is None:
            self._table = ServiceTable(tuple(self._entries.values()))
        return self._table

    def entry(self, key: ServiceKey) -> ServiceEntry | None:
        """Return one service of the table, or None."""
        return self._entries.get(key)

    def list_order(self, key: ServiceKey) -> tuple[RealServer, ...]:
        """Return the real servers of a service in the order of IPVS's schedulers: the newest first."""
        entry = self._entries.get(key)
        return tuple(reversed(entry.servers)) if entry else ()

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        """Apply operations in order. Return those that failed."""
        refusals: list[Refusal] = []
        for operation in operations:
            if (refusal := apply_to(self._entries, operation, self._schedulers)) is not None:
                refusals.append(refusal)
            else:
                self._account(operation)
        self._table = None
        return refusals

    def record(self, service: ServiceKey, counted: ServerCounters) -> None:
        """Set the counters of one real server of a service."""
        self._counted[service, counted.key] = counted

    def exits(self) -> dict[str, int]:
        return {}

    def service_counters(self) -> Iterator[ServiceCounters]:
        for entry in self._entries.values():
            yield self._service_counters(entry)

    def connection_counts(self, key: ServiceKey) -> dict[ServerKey, tuple[int, int]]:
        counted = self.counters_of(key)
        return {each.key: (each.active, each.inactive) for each in counted.servers} if counted else {}

    def counters_of(self, key: ServiceKey) -> ServiceCounters | None:
        entry = self._entries.get(key)
        return self._service_counters(entry) if entry else None

    def changed_counters(self) -> Iterator[Sequence[ServiceCounters]]:
        """Yield all counters: tests set them between two calls."""
        for counted in self.service_counters():
            yield [counted]

    def counters(self) -> Counters:
        return Counters(services=tuple(self.service_counters()))

    def passive_counters(self) -> dict[ServerCell, PassiveCounters]:
        present = {
            (entry.service.key, server.key): server
            for entry in self._entries.values()
            for server in entry.servers
        }
        return {
            cell: self.passive.get(cell, PassiveCounters())
            for cell, server in present.items()
            if server.is_watched
        }

    def unanswered(self) -> dict[ServerCell, Unanswered]:
        return self.left_unanswered

    def connections(self) -> Iterable[Connection]:
        return ()

    def timeouts(self) -> tuple[int, int, int]:
        return self._timeouts

    def attach(self, names: Sequence[str], allow_missing: bool = False) -> None:
        self.interfaces = tuple(names)

    def take_over(self) -> TakeCounts | None:
        return None

    def follow_interfaces(self) -> list[str]:
        return []

    def set_next_hops(self, hops: Iterable[NextHop]) -> None:
        self.next_hops = tuple(hops)

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        self.virtual_macs = frozenset(wanted)

    def close(self, keep_forwarding: bool) -> None:
        self.closed = True
        if not keep_forwarding:
            self._entries, self._table = {}, None
            self._counted.clear()

    def _account(self, operation: Operation) -> None:
        """Apply an operation to counters and timeouts."""
        match operation:
            case SetTimeouts(tcp, tcp_fin, udp):
                was = self._timeouts
                self._timeouts = (tcp or was[0], tcp_fin or was[1], udp or was[2])
            case ZeroCounters(key):
                self._zero(key)
            case Flush():
                self._counted.clear()
            case DeleteService(key):
                self._counted = {cell: value for cell, value in self._counted.items() if cell[0] != key}
            case DeleteServer(key, server):
                self._counted.pop((key, server), None)

    def _zero(self, key: ServiceKey | None) -> None:
        """Set traffic to zero, but not the numbers of present connections, as ip_vs_zero_stats() does."""
        for (service, server), value in self._counted.items():
            if key is None or service == key:
                self._counted[service, server] = ServerCounters(
                    server, value.active, value.inactive, value.persistent
                )

    def _service_counters(self, entry: ServiceEntry) -> ServiceCounters:
        key = entry.service.key
        servers = tuple(
            self._counted.get((key, server.key), ServerCounters(server.key)) for server in entry.servers
        )
        return ServiceCounters(key, _total(server.traffic for server in servers), servers)


def _total(parts: Iterable[Traffic]) -> Traffic:
    found = list(parts)
    return Traffic(
        connections=sum(part.connections for part in found),
        packets=sum(part.packets for part in found),
        octets=sum(part.octets for part in found),
        packets_out=sum(part.packets_out for part in found),
        octets_out=sum(part.octets_out for part in found),
    )
