# SPDX-License-Identifier: Apache-2.0
"""Find and signal the processes of a network namespace. They are found by namespace, not by name."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

_KILL_SECONDS = 5.0


def find_processes(inodes: Iterable[int]) -> dict[int, str]:
    """Return process ids and command lines of all processes in these namespaces, except this process."""
    wanted = set(inodes)
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if (entry / "ns/net").stat().st_ino in wanted:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = words.decode(errors="replace").strip()
        except OSError:
            continue  # it has ended, or is a zombie without a namespace
    return found


def send(inodes: Iterable[int], number: signal.Signals) -> None:
    """Send a signal once to all processes that are now in these namespaces."""
    for pid in find_processes(inodes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(inodes: Iterable[int]) -> bool:
    """Kill all processes in these namespaces. Return False if some stay.

    Several rounds are needed, because a supervisor can start a child between the search and the signal.
    """
    wanted = set(inodes)
    deadline = time.monotonic() + _KILL_SECONDS
    while find_processes(wanted):
        if time.monotonic() > deadline:
            return False
        send(wanted, signal.SIGKILL)
        time.sleep(0.02)
    return True
