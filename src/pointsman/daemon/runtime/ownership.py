# SPDX-License-Identifier: Apache-2.0
"""Ownership and permissions of programs that run as root."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple


class Weakness(NamedTuple):
    """A file or directory that a user other than root can change."""

    place: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.place} {self.reason}"


def find_weakness(program: Path) -> Weakness | None:
    """Return the first part of a program's path that a user other than root can change; None: there is none.

    Raises OSError if the path cannot be read.
    """
    real = program.resolve(strict=True)
    for place in (real, *real.parents):
        status = place.stat()
        sticky_folder = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid != 0:
            return Weakness(place, f"is owned by user {status.st_uid}")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky_folder:
            return Weakness(place, "is writable by others than root")
    return None
