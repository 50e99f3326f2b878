# SPDX-License-Identifier: Apache-2.0
"""State file of a VRRP instance: the time of its last advert as master, for a restart after a crash."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_MAGIC = b"PMVRRP1\0"
_RECORD = struct.Struct("=8sd")
_NOT_MASTER = -1.0


class StateFile:
    """Record of 16 bytes in the run directory, written with every advert by one system call.

    Times are CLOCK_BOOTTIME. The run directory does not survive a boot. Opening it raises OSError.
    """

    def __init__(self, run_directory: Path, interface: str, virtual_router_id: int, family: int = 4) -> None:
        version = "" if family == 4 else f"-ipv{family}"
        self._path = run_directory / f"vrrp-{interface}-{virtual_router_id}{version}.state"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def remove(self) -> None:
        """Remove the file, after an orderly stop."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def last_advert(self) -> float | None:
        """Return the time of the earlier process's last advert. None: it was not master, or it is unknown."""
        data = os.pread(self._file, _RECORD.size, 0)
        if len(data) != _RECORD.size:
            return None
        magic, time = _RECORD.unpack(data)
        return time if magic == _MAGIC and time >= 0 else None

    def record_advert(self, now: float) -> None:
        """Record that an advert was sent as master at `now`."""
        os.pwrite(self._file, _RECORD.pack(_MAGIC, now), 0)

    def record_not_master(self) -> None:
        """Record that this instance is not master."""
        os.pwrite(self._file, _RECORD.pack(_MAGIC, _NOT_MASTER), 0)
