"""Who may own a program that runs as root."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple


class Weakness(NamedTuple):
    """A file or folder through which others than root could change what is run."""

    place: Path
    why: str

    def __str__(self) -> str:
        return f"{self.place} {self.why}"


def find_weakness(program: Path) -> Weakness | None:
    """Return the first place on the way to a program that others than root can change; None: there is none.

    Raises OSError when it cannot be looked at.
    """
    real = program.resolve(strict=True)
    for place in (real, *real.parents):
        status = place.stat()
        sticky_folder = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid != 0:
            return Weakness(place, f"belongs to user {status.st_uid}")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky_folder:
            return Weakness(place, "can be written by others")
    return None
