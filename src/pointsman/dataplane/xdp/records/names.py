# SPDX-License-Identifier: Apache-2.0
"""The names by which records tell services and servers: destinations by front number, servers by address."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterable

from pointsman.dataplane.xdp.addresses import halves
from pointsman.dataplane.xdp.kernel import batches
from pointsman.dataplane.xdp.kernel.flags import FrontNameFlag
from pointsman.dataplane.xdp.kernel.record_layout import FrontName
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.service import ServiceKey

_DEST_NAME = struct.Struct("=16sIHH")


def write_front_name(name: FrontName, key: ServiceKey) -> None:
    """Write the destination of a front, or the mark of connections that are found by one (bpf/fwmark.h)."""
    name.address[:] = list(halves(key.address)) if key.address is not None else [0, 0]
    name.mark, name.port, name.protocol = key.fwmark, socket.htons(key.port), key.transport or 0
    name.flags = key.ipv6 * FrontNameFlag.IPV6 | bool(key.fwmark) * FrontNameFlag.MARK


class DestNames:
    """The map `pm_dest_names`: servers by service, address and port, changed in batches."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._added: list[int] = []

    def add(self, index: int) -> None:
        """Note a new server; `write` enters it."""
        self._added.append(index)

    def write(self) -> None:
        """Enter the servers that were added since the last call. Raises OSError."""
        self.enter(self._added)
        self._added = []

    def enter(self, indexes: Collection[int]) -> None:
        """Enter these servers. Raises OSError."""
        if self._tables.for_reading:
            return
        values = struct.pack(f"={len(indexes)}I", *indexes)
        batches.update(self._descriptor, len(indexes), self._keys(indexes), values)

    def remove(self, indexes: Collection[int]) -> None:
        """Remove servers, before their indexes are freed. Raises OSError."""
        gone = set(indexes)
        self._added = [index for index in self._added if index not in gone]
        if not self._tables.for_reading:
            batches.delete(self._descriptor, len(indexes), self._keys(indexes))

    @property
    def _descriptor(self) -> int:
        return self._tables.descriptors["pm_dest_names"]

    def _keys(self, indexes: Iterable[int]) -> bytes:
        return b"".join(map(self._key, indexes))

    def _key(self, index: int) -> bytes:
        dest, remote = self._tables.dests[index], self._tables.remotes[index]
        return _DEST_NAME.pack(bytes(remote.address), dest.service, dest.port, remote.family)
