# SPDX-License-Identifier: Apache-2.0
"""The number in a tracked file."""

from __future__ import annotations

import logging
from pathlib import Path

from pointsman.model.tracking import TrackFile

LARGEST_FILE = 128
"""Bytes of a tracked file that are read."""

log = logging.getLogger("scripts")


def write_initial_number(tracked: TrackFile) -> None:
    """Write the initial number into a tracked file, if it is configured (init_file)."""
    path = Path(tracked.path)
    if tracked.initial is not None and (tracked.overwrite or not path.exists()):
        try:
            path.write_text(f"{tracked.initial}\n")
        except OSError as error:
            log.error("tracked file %s: cannot write %s: %s", tracked.name, path, error.strerror)


def file_value(tracked: TrackFile) -> int:
    """Return the number in a tracked file; 0 if there is no file or no number, as in keepalived."""
    try:
        with Path(tracked.path).open("rb") as opened:
            return int(opened.read(LARGEST_FILE).split()[0])
    except (OSError, ValueError, IndexError):
        return 0
