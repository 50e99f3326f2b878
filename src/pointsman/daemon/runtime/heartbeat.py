# SPDX-License-Identifier: Apache-2.0
"""Heartbeats: each process records the turns of its main loop, and the supervisor looks at their age.

A heartbeat is a time in a page of memory that a process shares with the supervisor. Writing it needs no
system call, and it cannot be lost while the supervisor is stopped. All times are of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import mmap
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio  # the VRRP process does without it

INTERVAL = 0.5
"""Seconds between two heartbeats of an idle process, at most."""
SLOW_INTERVAL = 2.0
"""The same for a process whose limit is ten seconds or longer: each heartbeat wakes it up."""
LONGEST_TURN = 0.7
"""Seconds between two looks of the supervisor, at most."""
STALL = 0.5
"""Seconds from which a late turn of the supervisor is a stall of its own.

A pause of the whole machine that is no stall must not look like silence: no limit may be shorter than the sum
of these three.
"""
STABLE_AFTER = 30.0
"""Seconds of run time after which earlier crashes of a process are forgotten."""
LONGEST_BACKOFF = 60.0
"""Seconds between a crash and the restart, at most."""


class Crashes(NamedTuple):
    """Crashes of a process that followed one another."""

    in_a_row: int
    last: float
    """Time of the last one."""

    @property
    def restart_at(self) -> float:
        """Time of the restart: at once after the first crash, and a second later after each further one."""
        return self.last + min(self.in_a_row - 1.0, LONGEST_BACKOFF)


class Heartbeat:
    """Heartbeat of one process, and its crashes, which the supervisor records. It is made before the fork."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._time = memoryview(self._page).cast("d")

    def beat(self) -> None:
        """Record that the main loop of this process turns."""
        self._time[0] = time.monotonic()

    def beat_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beat now, and then in each SLOW_INTERVAL in which the loop turns."""
        self.beat()
        loop.call_later(SLOW_INTERVAL, self.beat_in, loop)

    @property
    def last(self) -> float:
        """Time of the last heartbeat; 0.0: there was none."""
        return self._time[0]

    def record_crashes(self, crashes: Crashes) -> None:
        """Record a crash of the process, in the supervisor."""
        self._time[1], self._time[2] = float(crashes.in_a_row), crashes.last

    @property
    def crashes(self) -> Crashes:
        """The crashes that the supervisor has recorded."""
        return Crashes(int(self._time[1]), self._time[2])

    def close(self) -> None:
        """Give up the page, in a process that must not write into it."""
        self._time.release()
        self._page.close()


class SilenceWatch:
    """Measures the silence of other processes, except while this process itself was stopped."""

    def __init__(self) -> None:
        self._since = float("-inf")

    def on_turn(self, now: float, due: float) -> None:
        """Record a turn of this process that was due at `due`.

        After a stall each other process gets its whole limit again: what stopped this process may have
        stopped all of them.
        """
        if now - due > STALL:
            self._since = now

    def silence(self, now: float, last: float) -> float:
        """Return the seconds of silence after the last sign of life of a process."""
        return now - max(last, self._since)

    def overdue_at(self, last: float, limit: float) -> float:
        """Return the time at which the silence of a process exceeds a limit."""
        return max(last, self._since) + limit
