"""The table of what clients address, as user space writes it (bpf/services.h searches it)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from pointsman.dataplane.xdp.addresses import front_hash
from pointsman.dataplane.xdp.allocation import FullError
from pointsman.dataplane.xdp.layout import FRONT_DELETED, FRONT_PROBES, WAYS, Control, Front


class FrontTable:
    """Buckets of four; a key lies in its own bucket, or in one of the next ones when all before are full."""

    def __init__(self, fronts: ctypes.Array[Front], control: Control) -> None:
        self._fronts = fronts
        self._control = control
        self._buckets = len(fronts) // WAYS
        self._places = {
            front.key: place for place, front in enumerate(fronts) if front.key not in (0, FRONT_DELETED)
        }
        control.any_port = sum(map(_is_any_port, self._places))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Key, service and number of every front."""
        for key, place in self._places.items():
            yield key, self._fronts[place].service, self._fronts[place].number

    def add(self, key: int, service: int, number: int) -> None:
        """Make a front known to the packet path, at once. Raises FullError."""
        place = self._vacancy(key)
        front = self._fronts[place]
        front.service, front.number = service, number
        self._control.any_port += _is_any_port(key)
        front.key = key
        self._places[key] = place

    def remove(self, key: int) -> None:
        place = self._places.pop(key)
        bucket = place - place % WAYS
        holes = any(self._fronts[bucket + way].key == 0 for way in range(WAYS))
        # A bucket without a hole may have sent keys on to the next: leave a mark that is not a hole.
        self._fronts[place].key = 0 if holes else FRONT_DELETED
        self._control.any_port -= _is_any_port(key)

    def _vacancy(self, key: int) -> int:
        start = front_hash(key)
        for probe in range(FRONT_PROBES):
            bucket = (start + probe) % self._buckets * WAYS
            for place in range(bucket, bucket + WAYS):
                if self._fronts[place].key in (0, FRONT_DELETED):
                    return place
        raise FullError


def _is_any_port(key: int) -> bool:
    return not key >> 32 & 0xFFFF
