# SPDX-License-Identifier: Apache-2.0
"""State file of a VRRP instance: the time of its last advert as master, for a restart after a crash."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from pathlib import Path

from pointsman.daemon.runtime.log_once import LogOnce

log = logging.getLogger("vrrp")

RETRY_INTERVAL = 10.0
"""Minimum seconds between two attempts to open a file that could not be opened."""
_MAGIC = b"PMVRRP1\0"
_RECORD = struct.Struct("=8sd")
_NOT_MASTER = -1.0


class StateFile:
    """Record of 16 bytes in the run directory, written with every advert by one system call.

    Times are CLOCK_BOOTTIME. The run directory does not survive a boot. The file is no condition: without it
    only a restart after a crash begins as backup. Failures are logged once.
    """

    def __init__(self, run_directory: Path, interface: str, virtual_router_id: int, family: int = 4) -> None:
        version = "" if family == 4 else f"-ipv{family}"
        self._path = run_directory / f"vrrp-{interface}-{virtual_router_id}{version}.state"
        self._file: int | None = None
        self._retry_at = float("-inf")
        self._once = LogOnce(log)
        self._open()

    def remove(self) -> None:
        """Remove the file, after an orderly stop."""
        self._close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def last_advert(self) -> float | None:
        """Return the time of the earlier process's last advert. None: it was not master, or it is unknown."""
        try:
            data = b"" if self._file is None else os.pread(self._file, _RECORD.size, 0)
        except OSError as error:
            self._warn("read", error)
            return None
        if len(data) != _RECORD.size:
            return None
        magic, time = _RECORD.unpack(data)
        return time if magic == _MAGIC and time >= 0 else None

    def record_advert(self, now: float) -> None:
        """Record that an advert was sent as master at `now`."""
        if self._file is None and now >= self._retry_at:
            self._retry_at = now + RETRY_INTERVAL
            self._open()
        self._write(now)

    def record_not_master(self) -> None:
        """Record that this instance is not master."""
        self._write(_NOT_MASTER)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            self._warn("open", error)

    def _write(self, time: float) -> None:
        if self._file is None:
            return
        try:
            os.pwrite(self._file, _RECORD.pack(_MAGIC, time), 0)
        except OSError as error:
            self._warn("write", error)
        else:
            self._once.forget("open")
            self._once.forget("write")

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _warn(self, action: str, error: OSError) -> None:
        text = "cannot %s %s: %s; a crash would end in a restart as backup"
        self._once.warning(action, text, action, self._path, error.strerror)
