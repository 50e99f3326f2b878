# SPDX-License-Identifier: Apache-2.0
"""Deadlines of all checks in one queue, with one timer of the event loop.

A timer of asyncio costs more than the rest of a passed TCP check. Deadlines are rounded up to a multiple of
TICK, so that one wakeup serves all that fall between two ticks.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

TICK = 0.01
"""Seconds. No call is later than this on an idle machine."""

Handle = list[Callable[[float], None]]
"""A call in a queue; empty: it was cancelled."""


class Deadlines:
    """Calls at deadlines of an event loop. A call may add others."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now = 0.0
        """Time of the present wakeup, or of the last one."""
        self._heap: list[tuple[float, int, Handle]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = float("inf")

    def add(self, deadline: float, call: Callable[[float], None]) -> Handle:
        """Call once, at the deadline or up to TICK later, with the present time. Return a handle."""
        handle = [call]
        heapq.heappush(self._heap, (deadline, next(self._numbers), handle))
        if deadline < self._armed_for:
            self._arm(deadline)
        return handle

    def cancel(self, handle: Handle) -> None:
        """Do not call, unless it has been called already."""
        handle.clear()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = (deadline // TICK + 1) * TICK
        self._armed_for = at - TICK
        self._timer = self.loop.call_at(at, self._on_tick)

    def _on_tick(self) -> None:
        heap, now = self._heap, self.loop.time()
        self.now = now
        self._armed_for, self._timer = 0.0, None  # calls that are added meanwhile set no timer
        try:
            while heap and heap[0][0] <= now:
                for call in heapq.heappop(heap)[2]:
                    call(now)
        finally:  # a defect in one call must not stop the others
            self._armed_for = float("inf")
            if heap:
                self._arm(heap[0][0])


_queues: list[Deadlines] = []


def deadlines(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Return the queue of this event loop. A process has one event loop at a time."""
    if not _queues or _queues[0].loop is not loop:
        _queues[:] = [Deadlines(loop)]
    return _queues[0]
