"""The processes of a namespace, found by the namespace they live in and not by what they are called."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

_KILL_SECONDS = 5.0


def living_in(inodes: Iterable[int]) -> dict[int, str]:
    """Process ids and command lines of all processes in these network namespaces, this process excepted."""
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
            continue  # it has ended meanwhile, or is a zombie, which has no namespace any more
    return found


def send(inodes: Iterable[int], number: signal.Signals) -> None:
    """Send a signal once to everything that lives there now."""
    for pid in living_in(inodes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(inodes: Iterable[int]) -> bool:
    """End all of them at once; False when some stay.

    More than one round, because a supervisor may start a child between our look and our signal.
    """
    wanted = set(inodes)
    deadline = time.monotonic() + _KILL_SECONDS
    while living_in(wanted):
        if time.monotonic() > deadline:
            return False
        send(wanted, signal.SIGKILL)
        time.sleep(0.02)
    return True
