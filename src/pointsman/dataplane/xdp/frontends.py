# SPDX-License-Identifier: Apache-2.0
"""The tables of frontends (virtual addresses and ports), which bpf/services.h searches."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

from pointsman.dataplane.xdp.addresses import (
    front6_hash,
    front6_key,
    front_hash,
    front_key,
    halves,
    service6_key_of,
    service_key_of,
)
from pointsman.dataplane.xdp.allocation import FullError
from pointsman.dataplane.xdp.kernel.flags import FrontKey
from pointsman.dataplane.xdp.kernel.layout import FRONT_DELETED, FRONT_PROBES, WAYS, Control, Front, Front6
from pointsman.dataplane.xdp.records.names import write_front_name
from pointsman.dataplane.xdp.tables import Tables, nonzero
from pointsman.model.address import Address
from pointsman.model.service import ServiceKey, Transport

Row = ctypes.Array[Front] | ctypes.Array[Front6]


class _Place(NamedTuple):
    table: Row
    at: int
    key: ServiceKey


class FrontendTable:
    """Two hash tables of fronts, one for each family, with buckets of four.

    A key lies in its own bucket, or in one of the next when that is full. A hidden front keeps its number for
    the connections that contain it, but packets do not find it.
    """

    def __init__(self, tables: Tables) -> None:
        self._four = tables.fronts
        self._six = tables.fronts6
        self._names = tables.front_names
        self._control: Control = tables.control
        self._places: dict[int, _Place] = {}
        for index in nonzero(self._four, "key"):
            front = self._four[index]
            if front.key != FRONT_DELETED:
                self._places[front.number] = _Place(self._four, index, service_key_of(front.key))
        for index in nonzero(self._six, "key"):
            front6 = self._six[index]
            if front6.key != FRONT_DELETED:
                first, rest = front6.address
                key = service6_key_of(first, rest, front6.key)
                self._places[front6.number] = _Place(self._six, index, key)
        self._visible = {place.key: number for number, place in self._places.items() if self._is_seen(place)}
        self._by_address: dict[tuple[Transport | None, Address | None], dict[int, set[int]]] = {}
        for number, place in self._places.items():
            self._at_address(place.key).setdefault(place.key.port, set()).add(number)
        self._control.any_port = sum(not key.port for key in self._visible)
        self._control.ftp = sum(table[index].flags for table, index, _ in self._places.values())

    def __iter__(self) -> Iterator[tuple[ServiceKey, int, int]]:
        """Yield key, service and number of every front, also of hidden ones."""
        for number, (table, index, key) in self._places.items():
            yield key, table[index].service, number

    def visible(self, key: ServiceKey) -> int | None:
        """Return the number of the front that packets to this destination find."""
        return self._visible.get(key)

    def ports_at(self, key: ServiceKey) -> list[int]:
        """Return the ports of the fronts of this address and transport; 0: every port."""
        return list(self._at_address(key))

    def at_port(self, key: ServiceKey, port: int) -> list[int]:
        """Return the fronts of this address and transport that have this port."""
        return list(self._at_address(key).get(port, ()))

    def _at_address(self, key: ServiceKey) -> dict[int, set[int]]:
        return self._by_address.setdefault((key.transport, key.address), {})

    def service_of(self, number: int) -> int:
        place = self._places[number]
        return int(place.table[place.at].service)

    def add(self, key: ServiceKey, service: int, number: int) -> None:
        """Add a front. It is hidden while another one has the same key. Raises FullError."""
        place = self._vacancy(key)
        front = place.table[place.at]
        front.service, front.number, front.flags = service, number, 0
        write_front_name(self._names[number], key)
        if isinstance(front, Front6):
            assert key.address is not None
            front.address[:] = list(halves(key.address))
        self._places[number] = place
        self._at_address(key).setdefault(key.port, set()).add(number)
        self._write_key(place, hidden=key in self._visible)
        if key not in self._visible:
            self._note_visible(key, number)

    def show(self, number: int) -> None:
        """Let packets find this front and no other one with its key."""
        place = self._places[number]
        before = self._visible.get(place.key)
        if before == number:
            return
        self._write_key(place, hidden=False)
        if before is not None:
            self.hide(before)
        self._note_visible(place.key, number)

    def hide(self, number: int) -> None:
        place = self._places[number]
        self._write_key(place, hidden=True)
        if self._visible.get(place.key) == number:
            del self._visible[place.key]
            self._control.any_port -= not place.key.port

    def mark_ftp(self, number: int, persistent: bool) -> None:
        """Let a persistent front take FTP data connections (ip_vs_service_find: ports 20, 1024 and above)."""
        front = self._places[number].table[self._places[number].at]
        self._control.ftp += int(persistent) - front.flags
        front.flags = int(persistent)

    def remove(self, number: int) -> None:
        self.hide(number)
        self.mark_ftp(number, persistent=False)
        table, index, key = self._places.pop(number)
        ports = self._at_address(key)
        ports[key.port].discard(number)
        if not ports[key.port]:
            del ports[key.port]
        bucket = index - index % WAYS
        holes = any(table[bucket + way].key == 0 for way in range(WAYS))
        # Keys of a full bucket may lie in the next one, so a search must not stop here: leave a tombstone.
        table[index].key = 0 if holes else FRONT_DELETED

    def _note_visible(self, key: ServiceKey, number: int) -> None:
        self._visible[key] = number
        self._control.any_port += not key.port

    def _write_key(self, place: _Place, hidden: bool) -> None:
        front = place.table[place.at]
        if isinstance(front, Front6):
            front.key = front6_key(place.key) | (FrontKey.HIDDEN6 if hidden else 0)
        else:
            front.key = front_key(place.key) | (FrontKey.HIDDEN if hidden else 0)

    def _is_seen(self, place: _Place) -> bool:
        front = place.table[place.at]
        return not front.key & (FrontKey.HIDDEN6 if isinstance(front, Front6) else FrontKey.HIDDEN)

    def _vacancy(self, key: ServiceKey) -> _Place:
        table: Row = self._six if key.ipv6 else self._four
        start = _hash(key)
        buckets = len(table) // WAYS
        for probe in range(FRONT_PROBES):
            bucket = (start + probe) % buckets * WAYS
            for index in range(bucket, bucket + WAYS):
                if table[index].key in (0, FRONT_DELETED):
                    return _Place(table, index, key)
        raise FullError


def _hash(key: ServiceKey) -> int:
    assert key.address is not None
    return front6_hash(halves(key.address), front6_key(key)) if key.ipv6 else front_hash(front_key(key))
