"""What a VRRP instance remembers across a crash of its process: whether, and until when, it was master."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_MAGIC = b"PMVRRP1\0"
_RECORD = struct.Struct("=8sd")
_NOT_MASTER = -1.0


class StateFile:
    """A record of 16 bytes in the run directory, written with every advert by one system call.

    Times are CLOCK_BOOTTIME; the run directory does not survive a boot. Raises OSError when it is opened.
    """

    def __init__(self, run_directory: Path, interface: str, virtual_router_id: int, family: int = 4) -> None:
        version = "" if family == 4 else f"-ipv{family}"
        self._path = run_directory / f"vrrp-{interface}-{virtual_router_id}{version}.state"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def forget(self) -> None:
        """After a stop in order there is nothing to go on with."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def last_advert(self) -> float | None:
        """When the former process sent its last advert as master; None: it was not master, or is unknown."""
        data = os.pread(self._file, _RECORD.size, 0)
        if len(data) != _RECORD.size:
            return None
        magic, time = _RECORD.unpack(data)
        return time if magic == _MAGIC and time >= 0 else None

    def advertised(self, now: float) -> None:
        """An advert as master went out."""
        os.pwrite(self._file, _RECORD.pack(_MAGIC, now), 0)

    def not_master(self) -> None:
        """This instance is not master, or no longer."""
        os.pwrite(self._file, _RECORD.pack(_MAGIC, _NOT_MASTER), 0)
