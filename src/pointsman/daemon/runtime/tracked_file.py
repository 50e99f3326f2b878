# SPDX-License-Identifier: Apache-2.0
"""The number in a tracked file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from pointsman.daemon.runtime.read_file import read_regular
from pointsman.model.tracking import TrackFile

LARGEST_FILE = 128
"""Bytes of a tracked file that are read."""
PATIENCE = 5.0
"""Seconds to wait for the file system of a tracked file."""

log = logging.getLogger("scripts")


class FileNumber(NamedTuple):
    """Number in a tracked file."""

    value: int
    """0 if there is no file or no number, as in keepalived."""
    problem: str = ""
    """Reason why the file is not read; empty: none."""


def write_initial_number(tracked: TrackFile) -> None:
    """Write the initial number into a tracked file, if it is configured (init_file)."""
    path = Path(tracked.path)
    if tracked.initial is not None and (tracked.overwrite or not path.exists()):
        try:
            _write(path, f"{tracked.initial}\n")
        except OSError as error:
            log.error("tracked file %s: cannot write %s: %s", tracked.name, path, error.strerror)


def _write(path: Path, text: str) -> None:
    """Write a regular file; no other file, and none behind a link, is changed. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


class NumberReader:
    """Reads tracked files in threads: a dead network file system may never answer."""

    def __init__(self) -> None:
        self._pending: dict[str, asyncio.Future[FileNumber]] = {}

    async def read(self, tracked: TrackFile) -> FileNumber:
        """Return the number in a file. Raises TimeoutError after PATIENCE; the thread then waits on."""
        if (asked := self._pending.get(tracked.path)) is None:
            asked = self._pending[tracked.path] = asyncio.get_running_loop().create_future()
            # Not asyncio.to_thread: the end of the process would wait for its threads.
            threading.Thread(target=self._answer, args=(tracked, asked), daemon=True).start()
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(asked)

    def _answer(self, tracked: TrackFile, asked: asyncio.Future[FileNumber]) -> None:
        found = read_number(tracked)
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            asked.get_loop().call_soon_threadsafe(self._on_answer, tracked.path, found)

    def _on_answer(self, path: str, found: FileNumber) -> None:
        self._pending.pop(path).set_result(found)


def read_number(tracked: TrackFile) -> FileNumber:
    """Return the number in a tracked file. Only a regular file is read, so that a FIFO does not block."""
    try:
        return FileNumber(int(read_regular(tracked.path, LARGEST_FILE).split()[0]))
    except (FileNotFoundError, ValueError, IndexError):
        return FileNumber(0)
    except OSError as error:
        return FileNumber(0, error.strerror or str(error))
