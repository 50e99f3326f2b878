# SPDX-License-Identifier: Apache-2.0
"""Read, write or remove many entries of a map by one system call (BPF_MAP_LOOKUP_BATCH and the like)."""

from __future__ import annotations

import contextlib
import ctypes

from pointsman.dataplane.xdp.kernel import libbpf


def lookup(fd: int, count: int, size: int, first: int = 0) -> bytes:
    """Return the values of `count` entries of an array from `first` on, in order. Raises OSError."""
    keys, values = ctypes.create_string_buffer(4 * count), ctypes.create_string_buffer(size * count)
    before = ctypes.byref(ctypes.c_uint32(first - 1)) if first else None
    token, done = ctypes.c_uint32(), ctypes.c_uint32(count)
    with contextlib.suppress(FileNotFoundError):  # ENOENT: the end of the map, after all values
        libbpf.library().bpf_map_lookup_batch(
            fd, before, ctypes.byref(token), keys, values, ctypes.byref(done), None
        )
    return values.raw


def update(fd: int, count: int, keys: bytes, values: bytes) -> None:
    """Write `count` entries of a hash, new or not; keys and values one after the other. Raises OSError."""
    if count:
        libbpf.library().bpf_map_update_batch(fd, keys, values, ctypes.byref(ctypes.c_uint32(count)), None)


def delete(fd: int, count: int, keys: bytes) -> None:
    """Remove `count` entries of a hash; keys that are not there are left out. Raises OSError."""
    size, start = len(keys) // count if count else 0, 0
    while start < count:
        done = ctypes.c_uint32(count - start)
        try:
            libbpf.library().bpf_map_delete_batch(fd, keys[start * size :], ctypes.byref(done), None)
        except FileNotFoundError:
            done.value += 1
        start += done.value
