# SPDX-License-Identifier: Apache-2.0
"""The MAC addresses of the ingress interfaces, which bpf/parse.h compares."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.kernel.layout import LOCAL_MACS


class LocalMacs:
    """The destination MAC addresses whose frames are taken, by interface index."""

    def __init__(self, words: ctypes.Array[ctypes.c_uint64], virtual_macs: int) -> None:
        """Write to `words`, the map pm_macs in memory, and to the map with the descriptor `virtual_macs`."""
        self._words = words
        self._virtual_macs = virtual_macs

    def write(self, addresses: Mapping[int, bytes]) -> None:
        """Take frames to exactly these MAC addresses, by interface index.

        Interfaces whose indexes have the same place in the array take any unicast frame.
        """
        wanted = _words_of(addresses)
        for place in range(LOCAL_MACS):
            if self._words[place] != wanted.get(place, 0):
                self._words[place] = wanted.get(place, 0)

    def add(self, addresses: Mapping[int, bytes]) -> list[int]:
        """Take frames to these as well. Return what `restore` needs."""
        before = list(self._words)
        for place, word in _words_of(addresses).items():
            self._words[place] = word
        return before

    def write_virtual(self, wanted: Iterable[tuple[int, bytes]]) -> None:
        """Take frames to exactly these further addresses, by interface index. Raises OSError."""
        keys = {_word(index, mac).to_bytes(8, "little") for index, mac in wanted}
        present = set(libbpf.map_keys(self._virtual_macs, 8))
        for key in keys - present:
            libbpf.map_update(self._virtual_macs, key, b"\1")
        for key in present - keys:
            libbpf.map_delete(self._virtual_macs, key)

    def restore(self, before: Sequence[int]) -> None:
        for place, word in enumerate(before):
            self._words[place] = word


def _words_of(addresses: Mapping[int, bytes]) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, mac in addresses.items():
        place = index % LOCAL_MACS
        found[place] = 0 if place in found else _word(index, mac)
    return found


def _word(index: int, mac: bytes) -> int:
    return int.from_bytes(mac, "little") | (index & 0xFFFF) << 48
