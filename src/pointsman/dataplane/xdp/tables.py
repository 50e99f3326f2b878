# SPDX-License-Identifier: Apache-2.0
"""The maps as Python objects: arrays in shared memory, and per-CPU counters through bpf(2)."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pointsman.dataplane.xdp.kernel import batches, libbpf
from pointsman.dataplane.xdp.kernel.layout import (
    LOCAL_MACS,
    WAYS,
    Block,
    ConnectionEntry,
    ConnectionEntry6,
    Control,
    Dest,
    Front,
    Front6,
    Limits,
    Load,
    Remote,
    Service,
    Template,
    TrafficEntry,
    Unanswered,
)
from pointsman.dataplane.xdp.kernel.record_layout import FrontName

CONTROL, LOCAL_MACS_MAP = "pm_ctl", "pm_macs"
"""Global data of the program: maps of one entry."""
_RESTORED = (CONTROL, "pm_fronts", "pm_fronts6", "pm_services", "pm_dests", "pm_members", "pm_blocks")
"""The arrays in which a store completes what an earlier director has begun."""
SPARE = 2
"""Ways per connection: a table that is half full refuses almost no connection (docs/data-plane.md)."""

TIMEOUTS = {
    "NONE": 3,
    "SYN_RECV": 60,
    "ESTABLISHED": 900,
    "FIN_WAIT": 120,
    "TIME_WAIT": 120,
    "CLOSE": 10,
    "UDP": 300,
    "SYNACK": 120,
    "SCTP_INIT1": 4,
    "SCTP_INIT": 61,
    "SCTP_COOKIE_ECHOED": 61,
    "SCTP_ESTABLISHED": 900,
    "SCTP_SHUTDOWN_RECEIVED": 61,
    "SCTP_CLOSED": 61,
}
"""Seconds, IPVS's defaults (ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ip_vs_proto_sctp.c)."""

Element = TypeVar(
    "Element",
    Control,
    Front,
    Front6,
    FrontName,
    Service,
    Dest,
    Remote,
    Load,
    Unanswered,
    Block,
    TrafficEntry,
    ctypes.c_uint64,
)

_MOST_OUTBOX = 1 << 17
"""Records of all CPUs together, 8 MiB, unless there are more than 128 CPUs."""
SERVERS_A_BLOCK = 8
"""A lower bound: blocks have more servers, and only long lists have blocks (server_list_format.py)."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the tables."""

    connections: int = 1 << 20
    connections6: int = 1 << 18
    templates: int = 1 << 16
    services: int = 16384
    dests: int = 131072
    members: int = 1 << 20
    outbox: int = 8192
    """Records of one CPU; a power of two."""

    @classmethod
    def for_limit(cls, connections: int, connections6: int | None = None) -> Sizes:
        """Return the sizes for a director: one persistence template for every four connections.

        `connections6` is for IPv6; by default a quarter of `connections`.
        """
        six = connections // 4 if connections6 is None else connections6
        return cls(
            connections=connections,
            connections6=six,
            templates=max(1 << 16, connections // 4),
            outbox=max(1024, min(8192, _power_of_two(_MOST_OUTBOX // libbpf.possible_cpus()))),
        )

    def entries(self) -> dict[str, int]:
        """Return the number of entries of each map."""
        fronts = _power_of_two(max(self.services, 16))
        cpus = libbpf.possible_cpus()
        return {
            "pm_fronts": fronts,
            "pm_fronts6": fronts,
            "pm_marks": self.services,
            "pm_services": self.services,
            "pm_svc_origins": self.services,
            "pm_members": _power_of_two(self.members),
            "pm_dests": self.dests,
            "pm_remotes": self.dests,
            "pm_loads": self.dests,
            "pm_unanswered": self.dests,
            "pm_blocks": _power_of_two(max(self.dests // SERVERS_A_BLOCK, 16)),
            "pm_dest_origins": self.dests,
            "pm_dest_names": self.dests,
            "pm_outbox": self.outbox * cpus,
            "pm_outbox_heads": cpus,
            "pm_traffic": self.dests,
            "pm_connections": -(-max(self.connections, 8) * SPARE // WAYS),
            "pm_connections6": -(-max(self.connections6, 8) * SPARE // WAYS),
            "pm_templates": -(-max(self.templates, 8) // WAYS),
        }


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def nonzero(structs: ctypes.Array[Any], field: str) -> list[int]:
    """Return the indexes of those structs whose field of 4 or 8 bytes is not 0.

    One pass over the memory; to ask 130,000 objects of ctypes for a field takes a tenth of a second.
    """
    return [index for index, value in enumerate(column(structs, field)) if value]


def column(structs: ctypes.Array[Any], field: str) -> memoryview:
    """Return a field of 4 or 8 bytes of all structs: a view of the memory."""
    kind = structs._type_
    place = getattr(kind, field)
    memory = memoryview(structs).cast("B")
    values = memory.cast("Q") if place.size == 8 else memory.cast("I")
    return values[place.offset // place.size :: ctypes.sizeof(kind) // place.size]


def limits_of(entries: Mapping[str, int]) -> bytes:
    """Return struct limits for maps of these sizes."""
    return bytes(
        Limits(
            entries["pm_fronts"] - 1,
            entries["pm_connections"],
            entries["pm_templates"],
            entries["pm_fronts6"] - 1,
            entries["pm_connections6"],
            entries["pm_outbox"] // entries["pm_outbox_heads"] - 1,
        )
    )


class Tables:
    """All maps of one director, open. Writing an 8-byte field is one store, as the packet path expects."""

    def __init__(self, maps: Mapping[str, int], for_reading: bool = False) -> None:
        """`for_reading`: a store on these tables changes a copy. The director may be changing the maps."""
        self.for_reading = for_reading
        self.descriptors = dict(maps)
        self.entries = {name: libbpf.map_info(fd).entries for name, fd in maps.items()}
        self._memory: dict[str, mmap.mmap] = {}
        self.cpus = libbpf.possible_cpus()
        self.control = self._structs(Control, CONTROL)[0]
        self.fronts = self._structs(Front, "pm_fronts", WAYS)
        self.fronts6 = self._structs(Front6, "pm_fronts6", WAYS)
        self.services = self._structs(Service, "pm_services")
        self.dests = self._structs(Dest, "pm_dests")
        self.remotes = self._structs(Remote, "pm_remotes")
        self.loads = self._structs(Load, "pm_loads")
        self.unanswered = self._structs(Unanswered, "pm_unanswered")
        self.blocks = self._structs(Block, "pm_blocks")
        self.dest_origins = self._structs(TrafficEntry, "pm_dest_origins")
        self.front_names = self._structs(FrontName, "pm_front_names")
        self.service_origins = self._structs(TrafficEntry, "pm_svc_origins")
        self.members = self._structs(ctypes.c_uint64, "pm_members")
        self.local_macs = self._structs(ctypes.c_uint64, LOCAL_MACS_MAP, LOCAL_MACS)
        self.connections = self._array("pm_connections", ctypes.sizeof(ConnectionEntry) * WAYS)
        self.connections6 = self._array("pm_connections6", ctypes.sizeof(ConnectionEntry6) * WAYS)
        self.templates = self._array("pm_templates", ctypes.sizeof(Template) * WAYS)

    def _structs(self, kind: type[Element], name: str, each: int = 1) -> ctypes.Array[Element]:
        """Return a map as an array; an entry of the map has `each` elements."""
        count = self.entries[name] * each
        memory, structs = self._map_memory(name, ctypes.sizeof(kind) * count), kind * count
        if self.for_reading and name in _RESTORED:
            return structs.from_buffer_copy(memory)
        return structs.from_buffer(memory)

    def _array(self, name: str, size: int) -> mmap.mmap:
        return self._map_memory(name, self.entries[name] * size)

    def _map_memory(self, name: str, size: int) -> mmap.mmap:
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(self.descriptors[name], pages)
        self._memory[name] = memory
        return memory

    @property
    def connection_limit(self) -> int:
        return self.entries["pm_connections"] * WAYS // SPARE

    def traffic_entry(self, index: int) -> memoryview:
        """Return struct traffic of one server, once for each CPU. Raises OSError."""
        size = ctypes.sizeof(TrafficEntry) * self.cpus
        key = index.to_bytes(4, "little")
        return memoryview(libbpf.map_lookup(self.descriptors["pm_traffic"], key, size))

    def traffic_of(self, index: int) -> tuple[int, int, int]:
        """Return connections, packets and octets of one server, summed over all CPUs."""
        words = self.traffic_entry(index).cast("Q")
        return sum(words[0::4]), sum(words[1::4]), sum(words[2::4])

    def exits(self) -> list[int]:
        """Return packets by exit reason, summed over all CPUs."""
        count = self.entries["pm_exits"]
        raw = batches.lookup(self.descriptors["pm_exits"], count, 8 * self.cpus)
        columns = struct.unpack(f"={self.cpus * count}Q", raw)
        return [sum(columns[at : at + self.cpus]) for at in range(0, len(columns), self.cpus)]

    def close(self) -> None:
        """Close the descriptors. The memory is unmapped with its last view."""
        for fd in self.descriptors.values():
            os.close(fd)
        self.descriptors.clear()
