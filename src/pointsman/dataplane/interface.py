"""The one interface of all data planes (memory, XDP, kernel IPVS)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import msgspec

from pointsman.model.next_hop import NextHop
from pointsman.model.operations import Operation, Refusal
from pointsman.model.service import ServerKey, ServiceKey, ServiceTable
from pointsman.model.traffic import Connection, Counters, PassiveCounters


class DataPlaneError(OSError):
    """The data plane itself is unusable: what, where, and what to do about it."""


class Attachment(msgspec.Struct, frozen=True):
    """The program on one interface."""

    interface: str
    index: int
    mode: str
    """native, generic or tc."""
    reason: str = ""
    """Why not a better mode, or what was found in place (e.g. 'adopted')."""


class Capabilities(msgspec.Struct, frozen=True):
    name: str
    schedulers: frozenset[str]
    forwarding: frozenset[str]
    attachments: tuple[Attachment, ...] = ()
    connection_limit: int = 0
    interfaces: tuple[str, ...] = ()
    """From which it was told to take packets; `attachments` are those it can."""


class DataPlane(Protocol):
    """Carries out service tables.

    `apply` never raises for a single operation: what could not be done comes back as a Refusal, the rest is
    done. OSError means the data plane itself is unusable.
    """

    def capabilities(self) -> Capabilities: ...

    def read(self) -> ServiceTable:
        """The table as it is in force now."""

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        """Carry out operations in order."""

    def counters(self) -> Counters: ...

    def passive_counters(self) -> dict[tuple[ServiceKey, ServerKey], PassiveCounters]:
        """Of the real servers in force that are watched."""

    def connections(self) -> Iterable[Connection]: ...

    def timeouts(self) -> tuple[int, int, int]:
        """Seconds: tcp, tcpfin, udp (ipvsadm -L --timeout)."""

    def attach(self, names: Sequence[str], patient: bool = False) -> None:
        """Take packets from exactly these interfaces. Raises OSError; then nothing has changed.

        `patient`: those that do not exist yet are waited for (`follow_interfaces`).
        """

    def follow_interfaces(self) -> list[str]:
        """Attach to interfaces that have come, or come back; follow their MAC addresses; what is amiss."""

    def set_next_hops(self, hops: Iterable[NextHop]) -> None:
        """Tell how real servers are reached; data planes that ask the kernel themselves ignore it."""

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        """Take frames to exactly these further MAC addresses, by interface: VRRP's, while it is master."""

    def close(self, keep_forwarding: bool) -> None:
        """Let go: leave everything in force, or take the program and the tables away."""
