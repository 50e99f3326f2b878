# SPDX-License-Identifier: Apache-2.0
"""Change many entries of a hash map by one system call (BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH)."""

from __future__ import annotations

import ctypes

from pointsman.dataplane.xdp.kernel import libbpf


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
