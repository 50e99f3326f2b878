# SPDX-License-Identifier: Apache-2.0
"""Data planes that reuse one loaded program: verification takes half a second per load."""

from __future__ import annotations

import mmap
import os
from functools import cache

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.kernel.loader import Loaded
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.dataplane.xdp.tables import Sizes

HASHES = 1, 9, 25
PER_CPU_ARRAY = 6
TIMERS = "pm_alarms"
"""An array that cannot be mapped. It needs no clearing: no timer is started without a clock."""

_last: dict[Sizes, XdpDataPlane] = {}


def cleared_plane(sizes: Sizes) -> XdpDataPlane:
    """Return XdpDataPlane.for_tests, with the cleared maps of the last one of these sizes if it is closed."""
    last = _last.get(sizes)
    if last is not None and last.programs:
        return XdpDataPlane.for_tests(sizes)
    loaded = _loaded(sizes)
    for name, fd in loaded.maps.items():
        if name != TIMERS:
            _empty(fd)
    _last[sizes] = XdpDataPlane.for_tests(sizes, loaded=_copy(loaded))
    return _last[sizes]


@cache
def _loaded(sizes: Sizes) -> Loaded:
    plane = XdpDataPlane.for_tests(sizes)
    kept = _copy(Loaded(plane.programs, plane.tables.descriptors))
    plane.close(keep_forwarding=False)
    return kept


def _copy(loaded: Loaded) -> Loaded:
    return Loaded(
        {name: os.dup(fd) for name, fd in loaded.programs.items()},
        {name: os.dup(fd) for name, fd in loaded.maps.items()},
    )


def _empty(fd: int) -> None:
    info = libbpf.map_info(fd)
    if info.kind in HASHES:
        for key in libbpf.map_keys(fd, info.key_size):
            libbpf.map_delete(fd, key)
    elif info.kind == PER_CPU_ARRAY:
        nothing = bytes(-(-info.value_size // 8) * 8 * libbpf.possible_cpus())
        for index in range(info.entries):
            libbpf.map_update(fd, index.to_bytes(4, "little"), nothing)
    else:
        size = -(-info.value_size // 8) * 8 * info.entries
        with mmap.mmap(fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE) as memory:
            memory[:] = bytes(len(memory))
