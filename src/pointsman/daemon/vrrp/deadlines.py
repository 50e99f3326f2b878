# SPDX-License-Identifier: Apache-2.0
"""Queue of the deadlines of all instances, and the limit of the heartbeat.

With hundreds of instances it is too expensive to ask each one in every turn of the loop. An instance without
an event has the same deadline as before.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from pointsman.model.vrrp import VrrpInstance

COALESCE = 0.5
"""Seconds. Deadlines that have moved are read again together: a wakeup costs more than to read twenty."""
SHORTEST_LIMIT, LONGEST_LIMIT = 2.0, 10.0
"""Bounds of `heartbeat_limit` in seconds. On a busy machine a healthy process may be late by a second."""


class Timed(Protocol):
    """An object with a deadline in seconds. None: it has no timer."""

    @property
    def deadline(self) -> float | None: ...


T = TypeVar("T", bound=Timed)


class DeadlineQueue(Generic[T]):
    """Deadlines of all objects that were touched at least once and not removed since.

    The heap has one valid entry for each, never later than its deadline. Most deadlines move to a later time
    again and again, with every advert of a master. The entry stays then. It is corrected when it is first.
    """

    def __init__(self) -> None:
        self._touched: set[T] = set()
        self._changed: set[T] = set()
        self._deadlines: dict[T, float] = {}
        self._entries: dict[T, float] = {}
        """Time of the valid heap entry of each object."""
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()

    def touch(self, timed: T) -> None:
        """Mark an object as changed: its deadline may be different."""
        self._touched.add(timed)
        self._changed.add(timed)

    def remove(self, timed: T) -> None:
        """Remove an object. It is no longer called."""
        self._touched.discard(timed)
        self._changed.discard(timed)
        self._deadlines.pop(timed, None)
        self._entries.pop(timed, None)

    def changed(self) -> set[T]:
        """Return the objects that were touched since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def first(self) -> float | None:
        """Return the earliest deadline. None: there is none."""
        self._refresh()
        while self._heap:
            at, _, timed = self._heap[0]
            if at != self._entries.get(timed):
                heapq.heappop(self._heap)
            elif timed not in self._deadlines:
                heapq.heappop(self._heap)
                del self._entries[timed]
            elif at < (deadline := self._deadlines[timed]):
                self._entries[timed] = deadline
                heapq.heapreplace(self._heap, (deadline, next(self._numbers), timed))
            else:
                return at
        return None

    def due(self, now: float) -> list[T]:
        """Return the objects whose deadline is not later than `now`, the earliest first.

        An object need not be touched when its deadline moves to a later time: the deadline is read again
        here. Such objects are then read together, at the last multiple of COALESCE before their deadline.
        """
        due: list[T] = []
        while (at := self.first()) is not None and at <= now:
            timed = heapq.heappop(self._heap)[2]
            del self._entries[timed]
            deadline = timed.deadline
            if deadline is not None and deadline > now:
                again = deadline // COALESCE * COALESCE
                self._deadlines[timed] = again if again > now else deadline
                self._enter(timed, self._deadlines[timed])
            else:
                due.append(timed)
        self._touched.update(due)  # read their deadlines again, even if they do nothing now
        return due

    def _refresh(self) -> None:
        for timed in self._touched:
            deadline = timed.deadline
            if deadline is None:
                self._deadlines.pop(timed, None)
                continue
            self._deadlines[timed] = deadline
            entry = self._entries.get(timed)
            if entry is None or deadline < entry:
                self._enter(timed, deadline)
        self._touched.clear()

    def _enter(self, timed: T, deadline: float) -> None:
        self._entries[timed] = deadline
        heapq.heappush(self._heap, (deadline, next(self._numbers), timed))


def heartbeat_limit(instances: Iterable[VrrpInstance]) -> float:
    """Return the seconds without a heartbeat after which the process is killed as hung.

    It is one advert less than the master-down interval: a restarted master advertises before a backup takes
    over. Only intervals below a second are too short for that.
    """
    limits = [each.advert_interval * (each.down_timer_adverts - 1) for each in instances]
    return max(SHORTEST_LIMIT, min([*limits, LONGEST_LIMIT]))
