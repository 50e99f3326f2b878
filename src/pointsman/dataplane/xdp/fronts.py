"""The tables of what clients address, as user space writes them (bpf/services.h searches them)."""

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
from pointsman.dataplane.xdp.layout import FRONT_DELETED, FRONT_PROBES, WAYS, Control, Front, Front6
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.service import ServiceKey

Row = ctypes.Array[Front] | ctypes.Array[Front6]


class _Place(NamedTuple):
    table: Row
    number: int


class FrontTable:
    """Buckets of four, of each family; a key lies in its own, or in one of the next when that is full."""

    def __init__(self, tables: Tables) -> None:
        self._four = tables.fronts
        self._six = tables.fronts6
        self._control: Control = tables.control
        self._places: dict[ServiceKey, _Place] = {}
        for place, front in enumerate(self._four):
            if front.key not in (0, FRONT_DELETED):
                self._places[service_key_of(front.key)] = _Place(self._four, place)
        for place, front6 in enumerate(self._six):
            if front6.key not in (0, FRONT_DELETED):
                first, rest = front6.address
                key = service6_key_of(first, rest, front6.key)
                self._places[key] = _Place(self._six, place)
        self._control.any_port = sum(not key.port for key in self._places)

    def __iter__(self) -> Iterator[tuple[ServiceKey, int, int]]:
        """Key, service and number of every front."""
        for key, (table, place) in self._places.items():
            yield key, table[place].service, table[place].number

    def add(self, key: ServiceKey, service: int, number: int) -> None:
        """Make a front known to the packet path, at once. Raises FullError."""
        place = self._vacancy(key)
        front = place.table[place.number]
        front.service, front.number = service, number
        self._control.any_port += not key.port
        if isinstance(front, Front6):
            assert key.address is not None
            front.address[:] = list(halves(key.address))
            front.key = front6_key(key)
        else:
            front.key = front_key(key)
        self._places[key] = place

    def remove(self, key: ServiceKey) -> None:
        table, index = self._places.pop(key)
        bucket = index - index % WAYS
        holes = any(table[bucket + way].key == 0 for way in range(WAYS))
        # A bucket without a hole may have sent keys on to the next: leave a mark that is not a hole.
        table[index].key = 0 if holes else FRONT_DELETED
        self._control.any_port -= not key.port

    def _vacancy(self, key: ServiceKey) -> _Place:
        table: Row = self._six if key.ipv6 else self._four
        start = _hash(key)
        buckets = len(table) // WAYS
        for probe in range(FRONT_PROBES):
            bucket = (start + probe) % buckets * WAYS
            for index in range(bucket, bucket + WAYS):
                if table[index].key in (0, FRONT_DELETED):
                    return _Place(table, index)
        raise FullError


def _hash(key: ServiceKey) -> int:
    assert key.address is not None
    return front6_hash(halves(key.address), front6_key(key)) if key.ipv6 else front_hash(front_key(key))
