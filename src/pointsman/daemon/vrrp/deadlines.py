"""Which routers something has happened to, and when the first of them wants to be called.

Hundreds of routers are not asked in every turn: one that nothing has happened to has the deadline it had.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, Protocol, TypeVar

TOGETHER = 0.5
"""Seconds; to wake up costs more than to ask twenty of them."""


class Timed(Protocol):
    """Something that wants to be called at `deadline` (seconds); None: not at all."""

    @property
    def deadline(self) -> float | None: ...


T = TypeVar("T", bound=Timed)


class DeadlineQueue(Generic[T]):
    """Deadlines of those that were touched at least once and not forgotten since.

    The heap has one valid entry each, never later than the deadline. Most deadlines move away again and
    again (every advert of a master does that): then the entry stays, and is put right when it comes up.
    """

    def __init__(self) -> None:
        self._touched: set[T] = set()
        self._changed: set[T] = set()
        self._deadlines: dict[T, float] = {}
        self._entries: dict[T, float] = {}
        """The time of the valid entry of each in the heap."""
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()

    def touch(self, timed: T) -> None:
        """Something has happened to it: its deadline may be another one."""
        self._touched.add(timed)
        self._changed.add(timed)

    def forget(self, timed: T) -> None:
        """It is not called any more."""
        self._touched.discard(timed)
        self._changed.discard(timed)
        self._deadlines.pop(timed, None)
        self._entries.pop(timed, None)

    def changed(self) -> set[T]:
        """Those touched since the last call."""
        taken, self._changed = self._changed, set()
        return taken

    def first(self) -> float | None:
        """The earliest deadline."""
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
        """Those whose deadline has come, the earliest first.

        Whose deadline has moved away meanwhile need not have been touched for it: it is asked. It is asked
        again together with others, at the last full TOGETHER before the deadline.
        """
        due: list[T] = []
        while (at := self.first()) is not None and at <= now:
            timed = heapq.heappop(self._heap)[2]
            del self._entries[timed]
            deadline = timed.deadline
            if deadline is not None and deadline > now:
                again = deadline // TOGETHER * TOGETHER
                self._deadlines[timed] = again if again > now else deadline
                self._enter(timed, self._deadlines[timed])
            else:
                due.append(timed)
        self._touched.update(due)  # whoever does nothing now is asked again
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
