"""The maps as Python sees them: arrays in shared memory, per-CPU counters through bpf(2)."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pointsman.dataplane.xdp import syscalls
from pointsman.dataplane.xdp.layout import (
    HOSTS,
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
)

CONTROL, HOSTS_DATA = ".data.control", ".data.hosts"
"""Global data of the program, which are maps of one entry."""
SPARE = 2
"""Ways for each connection: at half its load the table refuses next to none (docs/data-plane.md)."""


SERVERS_A_BLOCK = 8
"""Blocks have more, and only long lists have any (server_list_format.py): the table does not fill up."""


@dataclass(frozen=True)
class Sizes:
    """How much the tables hold."""

    connections: int = 1 << 20
    connections6: int = 1 << 18
    templates: int = 1 << 16
    services: int = 16384
    dests: int = 131072
    members: int = 1 << 20

    @classmethod
    def for_limit(cls, connections: int, connections6: int | None = None) -> Sizes:
        """A director's tables, with a persistent client for every four connections.

        IPv6 has a quarter of the connections when nothing else is said.
        """
        six = connections // 4 if connections6 is None else connections6
        return cls(
            connections=connections,
            connections6=six,
            templates=max(1 << 16, connections // 4),
        )

    def entries(self) -> dict[str, int]:
        """Map sizes as the kernel counts them."""
        fronts = _power_of_two(max(self.services, 16))
        return {
            "fronts": fronts,
            "fronts6": fronts,
            "marks": self.services,
            "services": self.services,
            "service_origins": self.services,
            "members": _power_of_two(self.members),
            "dests": self.dests,
            "remotes": self.dests,
            "loads": self.dests,
            "blocks": _power_of_two(max(self.dests // SERVERS_A_BLOCK, 16)),
            "dest_origins": self.dests,
            "traffic": self.dests,
            "connections": -(-max(self.connections, 8) * SPARE // WAYS),
            "connections6": -(-max(self.connections6, 8) * SPARE // WAYS),
            "templates": -(-max(self.templates, 8) // WAYS),
        }


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def limits_of(entries: Mapping[str, int]) -> bytes:
    """struct limits for maps of these sizes."""
    return bytes(
        Limits(
            entries["fronts"] - 1,
            entries["connections"],
            entries["templates"],
            entries["fronts6"] - 1,
            entries["connections6"],
        )
    )


class Tables:
    """All maps of one director, open. Writing an 8-byte field is one store, as the packet path expects."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        self.descriptors = dict(maps)
        self.entries = {name: syscalls.map_info(fd).entries for name, fd in maps.items()}
        self._memory: dict[str, mmap.mmap] = {}
        self.cpus = syscalls.possible_cpus()
        self.control: Control = Control.from_buffer(self._map_memory(CONTROL, ctypes.sizeof(Control)))
        self.fronts = (Front * (self.entries["fronts"] * WAYS)).from_buffer(self._array("fronts", 64))
        self.fronts6 = (Front6 * (self.entries["fronts6"] * WAYS)).from_buffer(self._array("fronts6", 128))
        self.services = (Service * self.entries["services"]).from_buffer(self._array("services", 64))
        self.dests = (Dest * self.entries["dests"]).from_buffer(self._array("dests", 64))
        self.remotes = (Remote * self.entries["remotes"]).from_buffer(self._array("remotes", 64))
        self.loads = (Load * self.entries["loads"]).from_buffer(self._array("loads", 16))
        self.blocks = (Block * self.entries["blocks"]).from_buffer(self._array("blocks", 16))
        self.dest_origins = (TrafficEntry * self.entries["dests"]).from_buffer(
            self._array("dest_origins", 32)
        )
        self.service_origins = (TrafficEntry * self.entries["services"]).from_buffer(
            self._array("service_origins", 32)
        )
        self.members = (ctypes.c_uint64 * self.entries["members"]).from_buffer(self._array("members", 8))
        self.local_macs = (ctypes.c_uint64 * HOSTS).from_buffer(self._map_memory(HOSTS_DATA, HOSTS * 8))
        self.connections = self._array("connections", ctypes.sizeof(ConnectionEntry) * WAYS)
        self.connections6 = self._array("connections6", ctypes.sizeof(ConnectionEntry6) * WAYS)
        self.templates = self._array("templates", ctypes.sizeof(Template) * WAYS)

    def _array(self, name: str, size: int) -> mmap.mmap:
        return self._map_memory(name, self.entries[name] * size)

    def _map_memory(self, name: str, size: int) -> mmap.mmap:
        pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(self.descriptors[name], pages)
        self._memory[name] = memory
        return memory

    @property
    def connection_limit(self) -> int:
        return self.entries["connections"] * WAYS // SPARE

    def traffic_of(self, last: int) -> list[tuple[int, int, int]]:
        """Connections, packets, octets of the dests 0..last, summed over the CPUs."""
        raw = syscalls.map_lookup_batch(self.descriptors["traffic"], last + 1, 32 * self.cpus)
        columns = struct.unpack(f"={4 * self.cpus * (last + 1)}Q", raw)
        step = 4 * self.cpus
        return [
            (
                sum(columns[at : at + step : 4]),
                sum(columns[at + 1 : at + step : 4]),
                sum(columns[at + 2 : at + step : 4]),
            )
            for at in range(0, len(columns), step)
        ]

    def exits(self) -> list[int]:
        """Packets by exit reason, summed over the CPUs."""
        count = self.entries["exits"]
        raw = syscalls.map_lookup_batch(self.descriptors["exits"], count, 8 * self.cpus)
        columns = struct.unpack(f"={self.cpus * count}Q", raw)
        return [sum(columns[at : at + self.cpus]) for at in range(0, len(columns), self.cpus)]

    def close(self) -> None:
        """Give up the descriptors; memory goes when the last view of it does."""
        for fd in self.descriptors.values():
            os.close(fd)
        self.descriptors.clear()
