# SPDX-License-Identifier: Apache-2.0
"""Give and take records by two programs of type syscall (bpf/give.h, bpf/take.h), as whole runs of bytes."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path

from pointsman.dataplane.interface import DataPlaneError, Outbox, TakeCounts
from pointsman.dataplane.xdp.kernel import libbpf, pins
from pointsman.dataplane.xdp.kernel.abi import read_object
from pointsman.dataplane.xdp.kernel.flags import GiveFlag, TakeFlag
from pointsman.dataplane.xdp.kernel.layout import Control
from pointsman.dataplane.xdp.kernel.record_layout import LANE_RECORDS, LANES, TAKE_RESULTS, Exchange
from pointsman.dataplane.xdp.records.outbox import RingOutbox
from pointsman.packets.record import RECORD_SIZE, RECORD_VERSION

GIVE, TAKE = f"give_records_{RECORD_VERSION}", f"take_records_{RECORD_VERSION}"
_LANE_SIZE = LANE_RECORDS * RECORD_SIZE


class Lane(IntEnum):
    """A part of the map in which records are handed over. Each process has its own, so that none waits."""

    DIRECTOR = 0
    SYNC = 1
    COMMAND = 2
    ASK = 3


def lane_page(exchange: int, lane: Lane) -> memoryview:
    """Return the memory of a lane in `pm_exchange`, by the map's descriptor. Raises OSError."""
    return memoryview(mmap.mmap(exchange, LANES * _LANE_SIZE))[lane * _LANE_SIZE :][:_LANE_SIZE]


def give_page(program: int, lane: Lane, page: memoryview, cursor: int, flags: int = 0) -> tuple[bytes, int]:
    """Run give_records_1, of this version or another. Return a page of records and the next cursor."""
    call = Exchange(cursor=cursor, lane=lane, count=LANE_RECORDS, flags=flags)
    libbpf.run_syscall(program, call)
    return bytes(page[: call.count * RECORD_SIZE]), call.cursor


class KernelExchange:
    """A RecordExchange on the maps and programs of a director."""

    def __init__(
        self, maps: Mapping[str, int], programs: Mapping[str, int], results: list[str], lane: Lane
    ) -> None:
        """`results`: the names of enum take_result. The caller keeps the descriptors open. Raises OSError."""
        self._programs = programs
        self._results = results
        self._lane = lane
        self._page = lane_page(maps["pm_exchange"], lane)
        counts = memoryview(mmap.mmap(maps["pm_taken"], mmap.PAGESIZE)).cast("Q")
        self._counts = counts[lane * TAKE_RESULTS :][:TAKE_RESULTS]
        self._control = Control.from_buffer(mmap.mmap(maps["pm_ctl"], mmap.PAGESIZE))
        self.outbox: Outbox = RingOutbox(maps)

    @property
    def sync(self) -> bool:
        """True if the packet path writes records to the outbox."""
        return bool(self._control.sync)

    @sync.setter
    def sync(self, on: bool) -> None:
        self._control.sync = int(on)

    def take(self, records: bytes | memoryview, ours: bool = False, live: bool = False) -> TakeCounts:
        """Put records into the tables: see RecordExchange."""
        if len(records) % RECORD_SIZE:
            raise ValueError(f"{len(records)} bytes are not whole records of {RECORD_SIZE}")
        flags = ours * TakeFlag.OURS | live * TakeFlag.LIVE
        for number in range(TAKE_RESULTS):
            self._counts[number] = 0
        for start in range(0, len(records), _LANE_SIZE):
            part = records[start : start + _LANE_SIZE]
            self._page[: len(part)] = part
            call = Exchange(lane=self._lane, count=len(part) // RECORD_SIZE, flags=flags)
            libbpf.run_syscall(self._programs[TAKE], call)
        return TakeCounts(**dict(zip(self._results, self._counts, strict=False)))

    def give(self, cursor: int = 0, carried: bool = False) -> tuple[bytes, int]:
        """Return a page of records and the next cursor: see RecordExchange."""
        return give_page(self._programs[GIVE], self._lane, self._page, cursor, carried * GiveFlag.CARRIED)


class OpenExchange(KernelExchange):
    """The exchange of a process that is not the director: opened by its pins."""

    def __init__(self, pin_directory: Path, lane: Lane) -> None:
        """Open the tables that a director of this version has pinned. Raises DataPlaneError, OSError."""
        words, abi = read_object()
        self._maps = pins.open_maps(pin_directory, abi)
        self._opened = pins.open_programs(pin_directory, abi)
        if not self._maps or not {GIVE, TAKE} <= self._opened.keys():
            self.close()
            raise DataPlaneError(errno.ENOENT, f"no director's tables in {pin_directory}")
        super().__init__(self._maps, self._opened, words.take_results, lane)

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (*self._maps.values(), *self._opened.values()):
            os.close(fd)
        self._maps, self._opened = {}, {}
