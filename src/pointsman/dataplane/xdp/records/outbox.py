# SPDX-License-Identifier: Apache-2.0
"""Read the outbox: a ring of records for each CPU, which the packet path writes (bpf/announce.h)."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.kernel.record_layout import OutboxHead
from pointsman.packets.record import RECORD_SIZE

_HEAD_STEP = ctypes.sizeof(OutboxHead) // 8


class RingOutbox:
    """The Outbox of one reader, which begins at the present end of the rings."""

    def __init__(self, maps: Mapping[str, int]) -> None:
        """`maps`: descriptors of the maps by name. Raises OSError."""
        cpus = libbpf.map_info(maps["pm_outbox_heads"]).entries
        self._length = libbpf.map_info(maps["pm_outbox"]).entries // cpus
        self._records = memoryview(_mapped(maps["pm_outbox"], cpus * self._length * RECORD_SIZE))
        heads = _mapped(maps["pm_outbox_heads"], cpus * ctypes.sizeof(OutboxHead))
        self._heads = memoryview(heads).cast("Q")
        self._read = [self._written(cpu) for cpu in range(cpus)]
        self.lost = 0

    def _written(self, cpu: int) -> int:
        return self._heads[cpu * _HEAD_STEP]

    def read(self) -> list[bytes]:
        """Return what was written since the last call, one run of whole records for each CPU."""
        runs = [
            self._read_ring(cpu) for cpu in range(len(self._read)) if self._written(cpu) != self._read[cpu]
        ]
        return [run for run in runs if run]

    def _read_ring(self, cpu: int) -> bytes:
        begin, end = self._read[cpu], self._written(cpu)
        start = max(begin, end - self._length)
        run = self._copy(cpu, start, end)
        # Some may have been overwritten while they were copied, and one more is perhaps being overwritten.
        intact = min(end, max(start, self._written(cpu) + 1 - self._length))
        self.lost += intact - begin
        self._read[cpu] = end
        return run[(intact - start) * RECORD_SIZE :]

    def _copy(self, cpu: int, start: int, end: int) -> bytes:
        """Return the records from `start` to `end` - 1, at most a whole ring."""
        first, last = start % self._length, end % self._length
        ring = self._records[cpu * self._length * RECORD_SIZE :][: self._length * RECORD_SIZE]
        if first < last:
            return bytes(ring[first * RECORD_SIZE : last * RECORD_SIZE])
        return bytes(ring[first * RECORD_SIZE :]) + bytes(ring[: last * RECORD_SIZE])


def _mapped(descriptor: int, size: int) -> mmap.mmap:
    return mmap.mmap(descriptor, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
