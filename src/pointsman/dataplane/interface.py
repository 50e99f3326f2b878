# SPDX-License-Identifier: Apache-2.0
"""The interface of all data planes (memory, XDP, kernel IPVS)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import add
from typing import Protocol

import msgspec

from pointsman.model.next_hop import NextHop
from pointsman.model.operations import Operation, Refusal
from pointsman.model.service import ServerKey, ServiceEntry, ServiceKey, ServiceTable
from pointsman.model.traffic import Connection, Counters, PassiveCounters, ServiceCounters, Unanswered


class DataPlaneError(OSError):
    """The data plane itself is unusable; the text says where, why and what to do."""


class Attachment(msgspec.Struct, frozen=True):
    """The attached program of one interface."""

    interface: str
    index: int
    mode: str
    """native, generic or tc."""
    reason: str = ""
    """The reason why a better mode is not used, or 'adopted' for a program that was attached already."""


class Capabilities(msgspec.Struct, frozen=True):
    """The features and limits of a data plane, and its interfaces."""

    name: str
    schedulers: frozenset[str]
    forwarding: frozenset[str]
    attachments: tuple[Attachment, ...] = ()
    connection_limit: int = 0
    interfaces: tuple[str, ...] = ()
    """The interfaces that `attach` was called with; `attachments` are those that exist."""


class TakeCounts(msgspec.Struct, frozen=True):
    """Counts of records that were taken, by what became of each."""

    added: int = 0
    updated: int = 0
    kept: int = 0
    """Connections that this director carries itself, to the same server."""
    conflict: int = 0
    """Connections that this director carries itself, to another server: they stay as they are."""
    expired: int = 0
    no_service: int = 0
    """Their service is not configured here, or a template's is not persistent."""
    no_server: int = 0
    """Their real server is not configured here."""
    full: int = 0
    malformed: int = 0

    def __add__(self, other: TakeCounts) -> TakeCounts:
        return TakeCounts(*map(add, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))


class Outbox(Protocol):
    """The records that the packet path writes when a connection changes, while `sync` is on."""

    lost: int
    """Records that were overwritten before they were read."""

    def read(self) -> list[bytes]:
        """Return what was written since the last call: whole records (packets.record), one run for each CPU.

        A run is in the order of events. Records of one connection may be in several runs.
        """


class RecordExchange(Protocol):
    """Connections and templates as records (packets.record), moved as whole runs of bytes."""

    outbox: Outbox
    sync: bool
    """True if the packet path writes records to the outbox. It stays as it is when the director ends."""

    def take(self, records: bytes | memoryview, ours: bool = False, live: bool = False) -> TakeCounts:
        """Put records of another director into the tables, as connections that it carries.

        A packet here makes such a connection ours. `ours`: what the sender carried is ours at once (an
        upgrade, a file). `live`: the sender saw a packet just now, so what it carries is not ours any more.
        Raises ValueError if the length is not that of whole records, OSError if the kernel refuses.
        """

    def give(self, cursor: int = 0, carried: bool = False) -> tuple[bytes, int]:
        """Return a page of records, at most 64 KiB, and the cursor of the next page; 0: it was the last.

        Templates come first: take them before the connections that they hold. `carried`: only what this
        director carries itself. A page may be empty. Connections that come or go meanwhile may be missing.
        Raises OSError.
        """


class Unattended(Protocol):
    """Services and connections while no director is in charge, and the grace when one begins."""

    def keep(self, services: Collection[ServiceKey], seconds: int) -> None:
        """Serve only known connections of these services, for at most `seconds`.

        Without a connection it is as if they did not exist. Only a packet that the stack would answer with a
        reset is dropped.
        """

    def kept(self) -> frozenset[ServiceKey]:
        """Return the services that `keep` was called for, also by an earlier director."""

    def connections(self) -> int:
        """Return how many connections and persistent clients are known, also of deleted services."""

    def seconds_left(self) -> int:
        """Return for how many seconds kept connections are still served."""

    def resume(self) -> None:
        """Serve the services of `kept` as all others again."""

    def set_grace(self, seconds: Mapping[ServiceKey, int | None]) -> None:
        """Set for how long packets of unknown established connections are not refused. None: always.

        Schedulers that choose by a hash serve them, others drop them, so that the client sends them again.
        """


class DataPlane(Protocol):
    """A forwarder of packets by a service table.

    `apply` never raises for a single operation: it returns a Refusal for each operation that failed, and does
    the rest. OSError means that the data plane itself is unusable.
    """

    @property
    def is_fresh(self) -> bool:
        """True if the tables were empty when this object was made."""

    @property
    def unattended(self) -> Unattended:
        """See Unattended."""

    def capabilities(self) -> Capabilities:
        """Return the features, limits and interfaces."""

    def read(self) -> ServiceTable:
        """Return the table in force. It is the same object until something changes."""

    def entry(self, key: ServiceKey) -> ServiceEntry | None:
        """Return one service of the table in force, or None. Costs what one service costs."""

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        """Apply operations in order. Return those that failed."""

    def exits(self) -> dict[str, int]:
        """Return the counters of exits that are not 0."""

    def service_counters(self) -> Iterator[ServiceCounters]:
        """Yield the counters of each service in force. The table may change meanwhile."""

    def connection_counts(self, key: ServiceKey) -> Mapping[ServerKey, tuple[int, int]]:
        """Return the active and the inactive connections of each real server in force of a service."""

    def counters_of(self, key: ServiceKey) -> ServiceCounters | None:
        """Return the counters of one service, or None. Costs what one service costs."""

    def changed_counters(self) -> Iterator[Sequence[ServiceCounters]]:
        """Yield the counters of services with traffic since the last call, and perhaps of a few others.

        They come in parts, which may be empty: between two of them the caller can do other work.
        """

    def counters(self) -> Counters:
        """Return the counters of services, real servers and exits."""

    def passive_counters(self) -> dict[tuple[ServiceKey, ServerKey], PassiveCounters]:
        """Return the passive counters of the watched real servers in force."""

    def unanswered(self) -> dict[tuple[ServiceKey, ServerKey], Unanswered]:
        """Return what real servers in force left unanswered since they last answered a client."""

    def connections(self) -> Iterable[Connection]:
        """Yield the connections and persistence templates."""

    def timeouts(self) -> tuple[int, int, int]:
        """Return seconds for tcp, tcpfin and udp (ipvsadm -L --timeout)."""

    def attach(self, names: Sequence[str], allow_missing: bool = False) -> None:
        """Take packets from exactly these interfaces. Raises OSError; then nothing has changed.

        `allow_missing`: interfaces that do not exist yet are no error; `follow_interfaces` attaches later.
        """

    def take_over(self) -> TakeCounts | None:
        """Carry over the connections of an earlier director's tables, and forward by the new ones.

        Call it once, when the services are in force: until then the earlier tables forward. None: there is
        nothing to take over. Raises OSError.
        """

    def follow_interfaces(self) -> list[str]:
        """Attach to interfaces that have appeared, and follow their MAC addresses. Return the problems."""

    def set_next_hops(self, hops: Iterable[NextHop]) -> None:
        """Set the next hops of real servers. Data planes that use the kernel's routes ignore them."""

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        """Take frames to exactly these further MAC addresses, by interface (VRRP's, while it is master)."""

    def close(self, keep_forwarding: bool) -> None:
        """Release all resources. Without `keep_forwarding` also remove the program and the tables."""
