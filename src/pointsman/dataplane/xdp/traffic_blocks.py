# SPDX-License-Identifier: Apache-2.0
"""The per-CPU counters of real servers, read in blocks of entries: one system call for each block."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pointsman.dataplane.xdp.kernel import batches
from pointsman.dataplane.xdp.tables import Tables

SIZE = 256
"""Entries of a block."""
WORDS = 4
"""Words of 8 bytes in struct traffic; the last one has the passive counters."""

Sums = tuple[int, int, int]
"""Connections, packets and octets over all CPUs, since the entry was created."""
NOTHING: Sums = (0, 0, 0)


class TrafficBlocks:
    """The counters at one moment. A block is read when one of its entries is asked for."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._blocks: dict[int, list[Sums] | None] = {}
        """None: nothing was counted in this block."""

    def of(self, index: int) -> Sums:
        """Return the counters of one entry."""
        number, place = divmod(index, SIZE)
        if number not in self._blocks:
            raw = read(self._tables, number)
            self._blocks[number] = _summed(raw, self._tables.cpus) if raw != bytes(len(raw)) else None
        block = self._blocks[number]
        return block[place] if block else NOTHING

    def forget(self, index: int) -> None:
        """Read the block of this entry again when it is asked for."""
        self._blocks.pop(index // SIZE, None)


def read(tables: Tables, number: int) -> bytes:
    """Return the counters of a block: struct traffic for each entry and CPU. Raises OSError."""
    first = number * SIZE
    count = min(SIZE, tables.entries["pm_traffic"] - first)
    return batches.lookup(tables.descriptors["pm_traffic"], count, 8 * WORDS * tables.cpus, first)


def _summed(raw: bytes, cpus: int) -> list[Sums]:
    words = struct.unpack(f"={len(raw) // 8}Q", raw)
    step = WORDS * cpus
    columns = []
    for word in range(3):
        of_each_cpu = (words[word + WORDS * cpu :: step] for cpu in range(cpus))
        columns.append(map(sum, zip(*of_each_cpu, strict=True)))
    return list(zip(*columns, strict=True))


class TrafficWatch:
    """Finds blocks that have changed, by the hashes of their bytes: a quiet block costs a system call."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._hashes: dict[int, int] = {}

    def changes(self, highest: int) -> Iterator[bool]:
        """Yield for each block up to this entry True if it has changed since the last call.

        Raises OSError.
        """
        for number in range(highest // SIZE + 1):
            raw = read(self._tables, number)
            found = hash(raw) if raw != bytes(len(raw)) else 0
            before, self._hashes[number] = self._hashes.get(number, 0), found
            yield found != before
