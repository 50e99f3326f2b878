"""Allocation of indexes and ranges: free lists that can be rebuilt from the tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

QUARANTINE = 64
"""Freed numbers or ranges that rest before one is used again: a packet may still be reading it."""


class FullError(Exception):
    """Nothing is left."""


class Numbers:
    """Indexes from `first` to `end` - 1."""

    def __init__(self, first: int, end: int, used: Iterable[int] = ()) -> None:
        taken = set(used)
        self.top = max(taken, default=first - 1)
        """Return the highest index that was ever used."""
        self._end = end
        self._free = deque(number for number in range(first, self.top) if number not in taken)

    def take(self) -> int:
        """Allocate an index. One that was given back rests before it is used again. Raises FullError."""
        if len(self._free) <= QUARANTINE and self.top + 1 < self._end:
            self.top += 1
            return self.top
        if not self._free:
            raise FullError
        return self._free.popleft()

    def give_back(self, number: int) -> None:
        self._free.append(number)


class Ranges:
    """Contiguous elements in blocks of a power of two each (a buddy system without merging of the young)."""

    def __init__(self, size: int, used: Iterable[tuple[int, int]] = ()) -> None:
        """`size` is a power of two; `used` are (first, length) as taken before."""
        self._orders = size.bit_length()
        self._free: list[set[int]] = [set() for _ in range(self._orders)]
        self._free[-1].add(0)
        self._resting: deque[tuple[int, int]] = deque()
        for first, length in used:
            self._reserve(first, _order(length))

    def take(self, length: int) -> int:
        """Allocate `length` elements; return the first. Raises FullError."""
        order = _order(length)
        found = self._find(order)
        while found is None and self._resting:
            self._release(*self._resting.popleft())
            found = self._find(order)
        if found is None:
            raise FullError
        return found

    def give_back(self, first: int, length: int) -> None:
        self._resting.append((first, _order(length)))
        if len(self._resting) > QUARANTINE:
            self._release(*self._resting.popleft())

    def _find(self, order: int) -> int | None:
        for larger in range(order, self._orders):
            if self._free[larger]:
                block = self._free[larger].pop()
                while larger > order:
                    larger -= 1
                    self._free[larger].add(block + (1 << larger))
                return block
        return None

    def _release(self, block: int, order: int) -> None:
        while order + 1 < self._orders and block ^ 1 << order in self._free[order]:
            self._free[order].remove(block ^ 1 << order)
            block &= ~(1 << order)
            order += 1
        self._free[order].add(block)

    def _reserve(self, block: int, order: int) -> None:
        larger = order
        while larger < self._orders and block & ~((1 << larger) - 1) not in self._free[larger]:
            larger += 1
        if larger == self._orders:
            raise ValueError(f"members from {block} on are in use twice")
        whole = block & ~((1 << larger) - 1)
        self._free[larger].remove(whole)
        while larger > order:
            larger -= 1
            half = 1 << larger
            low, high = whole, whole + half
            whole, other = (high, low) if block & half else (low, high)
            self._free[larger].add(other)


def _order(length: int) -> int:
    return max(0, length - 1).bit_length()
