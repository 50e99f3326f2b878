"""The MAC addresses of the interfaces that packets come in by, as bpf/parse.h compares them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

from pointsman.dataplane.xdp.layout import HOSTS


class Hosts:
    """Which frames are for us, by interface index."""

    def __init__(self, words: ctypes.Array[ctypes.c_uint64]) -> None:
        self._words = words
        self.addresses: dict[int, bytes] = {}
        """What was written last."""

    def write(self, addresses: Mapping[int, bytes]) -> None:
        """Take frames to exactly these MAC addresses, by interface index.

        Interfaces whose indexes share a place take any unicast frame.
        """
        self.addresses = dict(addresses)
        wanted = _words_of(addresses)
        for place in range(HOSTS):
            if self._words[place] != wanted.get(place, 0):
                self._words[place] = wanted.get(place, 0)

    def prepare(self, addresses: Mapping[int, bytes]) -> list[int]:
        """Take frames to these, too. Returns what `undo` needs."""
        before = list(self._words)
        for place, word in _words_of(addresses).items():
            self._words[place] = word
        return before

    def undo(self, before: Sequence[int]) -> None:
        for place, word in enumerate(before):
            self._words[place] = word


def _words_of(addresses: Mapping[int, bytes]) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, mac in addresses.items():
        place = index % HOSTS
        found[place] = 0 if place in found else int.from_bytes(mac, "little") | (index & 0xFFFF) << 48
    return found
