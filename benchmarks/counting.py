# SPDX-License-Identifier: Apache-2.0
"""Hardware counters of this thread in the kernel (perf_event_open(2)). Most virtual machines have none."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from types import TracebackType

EVENTS = {"cycles": 0, "instructions": 1, "cache_misses": 3, "branch_misses": 5}
"""PERF_TYPE_HARDWARE configurations."""
_NUMBER = {"x86_64": 298, "aarch64": 241}
_EXCLUDE_USER, _EXCLUDE_HYPERVISOR = 1 << 4, 1 << 6

_libc = ctypes.CDLL(None, use_errno=True)


def _open(configuration: int) -> int | None:
    number = _NUMBER.get(platform.machine())
    if number is None:
        return None
    exclude = _EXCLUDE_USER | _EXCLUDE_HYPERVISOR
    attributes = struct.pack("=IIQQQQQ", 0, 112, configuration, 0, 0, 3, exclude)
    buffer = ctypes.create_string_buffer(attributes, 112)
    fd = _libc.syscall(number, buffer, 0, -1, -1, 0)
    return fd if fd >= 0 else None


class HardwareCounters:
    """The counters, open as a context manager. A counter that does not exist has the value None."""

    def __init__(self) -> None:
        self._open: dict[str, int | None] = {}

    def __enter__(self) -> HardwareCounters:
        self._open = {name: _open(configuration) for name, configuration in EVENTS.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._open.values():
            if fd is not None:
                os.close(fd)

    def read(self) -> dict[str, float | None]:
        """Return the totals so far. They are scaled up if the kernel had to share a counter."""
        return {name: _value(fd) for name, fd in self._open.items()}


def _value(fd: int | None) -> float | None:
    if fd is None:
        return None
    value, enabled, running = struct.unpack("=QQQ", os.read(fd, 24))
    return value * enabled / running if running else None
