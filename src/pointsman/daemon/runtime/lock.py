# SPDX-License-Identifier: Apache-2.0
"""The lock: one director in each network namespace."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

LOCK_FILE = "pointsman.pid"
"""File in the run directory. It is locked by flock(2) and has the process ID of the supervisor."""


class AlreadyRunningError(Exception):
    """A director already runs in this network namespace; the text is its process ID."""


def acquire_lock(run_directory: Path) -> int:
    """Make the run directory and lock it. Return the lock for `release_lock`.

    A symbolic link in place of the lock file is not followed. Raises AlreadyRunningError, OSError.
    """
    while True:
        run_directory.mkdir(parents=True, exist_ok=True)
        path = run_directory / LOCK_FILE
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # a director that has just ended removed the directory
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise OSError(
                error.errno, f"{path} is a symbolic link, which is not followed: remove it"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise AlreadyRunningError(holder) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.lstat()):
                os.truncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        os.close(handle)


def release_lock(handle: int, run_directory: Path) -> None:
    """Release the lock, and remove the run directory if it is empty."""
    with contextlib.suppress(OSError):
        (run_directory / LOCK_FILE).unlink()
        run_directory.rmdir()
    os.close(handle)
