# SPDX-License-Identifier: Apache-2.0
"""The tables of an earlier director, of another version or size: carry their connections over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pointsman.dataplane.interface import TakeCounts
from pointsman.dataplane.xdp.kernel import libbpf, pins
from pointsman.dataplane.xdp.records.exchange import GIVE, KernelExchange, Lane, give_page, lane_page

RESIZED = ("pm_connections", "pm_connections6", "pm_templates")
"""The maps whose size a director may choose (--connections)."""


class Predecessor:
    """The pinned maps and programs of one folder, which still forward."""

    def __init__(self, folder: Path) -> None:
        """Open a folder of pins. Raises OSError."""
        self._name = folder.name
        self.maps = pins.open_folder(folder)
        self.programs = pins.open_folder(folder / pins.PROGRAMS)

    @classmethod
    def find(cls, directory: Path, abi: str, entries: Mapping[str, int]) -> Predecessor | None:
        """Return the tables in force if they are of another version, or have other sizes than `entries`.

        Raises OSError.
        """
        folders = {path.name: path for path in pins.map_directories(directory)}
        own = folders.get(f"abi-{abi}")
        if own is None:
            newest = max(folders.values(), key=lambda path: path.stat().st_mtime, default=None)
            return cls(newest) if newest else None
        found = cls(own)
        if found.has_sizes(entries):
            found.close()
            return None
        return found

    def is_of(self, abi: str) -> bool:
        """True if the tables are of this version and differ by size only."""
        return self._name == f"abi-{abi}"

    def copies(self) -> dict[str, int]:
        """Return further descriptors of the maps; the caller owns them."""
        return {name: os.dup(fd) for name, fd in self.maps.items()}

    def has_sizes(self, entries: Mapping[str, int]) -> bool:
        """True if the tables have these sizes, as far as they are there."""
        return all(
            libbpf.map_info(self.maps[name]).entries == entries[name] for name in RESIZED if name in self.maps
        )

    def give_all(self, exchange: KernelExchange, ours: bool = False) -> TakeCounts:
        """Put all records into other tables: see KernelExchange.take. Raises OSError.

        A version that does not give records gives none.
        """
        counts = TakeCounts()
        if GIVE not in self.programs or "pm_exchange" not in self.maps:
            return counts
        page, cursor = lane_page(self.maps["pm_exchange"], Lane.DIRECTOR), 0
        while True:
            records, cursor = give_page(self.programs[GIVE], Lane.DIRECTOR, page, cursor)
            counts += exchange.take(records, ours)
            if not cursor:
                return counts

    def copy_virtual_macs(self, other: int) -> None:
        """Copy the MAC addresses of VRRP to another `pm_virtual_macs`, until VRRP tells them anew."""
        with contextlib.suppress(OSError, KeyError):
            for key in libbpf.map_keys(self.maps["pm_virtual_macs"], 8):
                libbpf.map_update(other, key, b"\1")

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (*self.maps.values(), *self.programs.values()):
            os.close(fd)
        self.maps, self.programs = {}, {}


class TakeOver:
    """The exchange of an earlier director's tables for new ones, while packets are forwarded."""

    def __init__(
        self, predecessor: Predecessor, exchange: KernelExchange, abi: str, attach: Callable[[], None]
    ) -> None:
        """The new tables are pinned as prepared (pins.prepare). `attach` puts them in force."""
        self._predecessor = predecessor
        self._exchange = exchange
        self._abi = abi
        self._attach = attach

    def run(self, directory: Path) -> TakeCounts:
        """Carry the connections over and put the new tables in force.

        Return the counts of the first pass, with all that the second added. Raises OSError; then the earlier
        tables stay in force, unless the new ones forward already.
        """
        before = self._predecessor.give_all(self._exchange)
        self._attach()
        pins.put_in_force(directory, self._abi)
        # What changed meanwhile, and it makes ours what the earlier director carried.
        after = self._predecessor.give_all(self._exchange, ours=True)
        self._predecessor.close()
        return msgspec.structs.replace(before, added=before.added + after.added)
