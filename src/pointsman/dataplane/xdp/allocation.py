# SPDX-License-Identifier: Apache-2.0
"""Allocators of indexes and ranges: free lists that are rebuilt from the tables after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

QUARANTINE = 64
"""Freed indexes or ranges that are held back before one is reused: a packet may still be reading it."""


class FullError(Exception):
    """No index or range is free."""


class IndexAllocator:
    """Indexes from `first` to `end` - 1."""

    def __init__(self, first: int, end: int, used: Iterable[int] = ()) -> None:
        taken = set(used)
        self.top = max(taken, default=first - 1)
        """The highest index that was ever used."""
        self._end = end
        self._free = deque(number for number in range(first, self.top) if number not in taken)

    def allocate(self) -> int:
        """Return a free index; a freed one is held back for a while. Raises FullError."""
        if len(self._free) <= QUARANTINE and self.top + 1 < self._end:
            self.top += 1
            return self.top
        if not self._free:
            raise FullError
        return self._free.popleft()

    def free(self, number: int) -> None:
        self._free.append(number)


class RangeAllocator:
    """Contiguous elements, in blocks whose size is a power of two (a buddy allocator).

    A freed block is merged with its buddy only after its quarantine.
    """

    def __init__(self, size: int, used: Iterable[tuple[int, int]] = ()) -> None:
        """Manage `size` elements, a power of two. `used`: first element and length of allocated ranges."""
        self._orders = size.bit_length()
        self._free: list[set[int]] = [set() for _ in range(self._orders)]
        self._free[-1].add(0)
        self._quarantine: deque[tuple[int, int]] = deque()
        for first, length in used:
            self._reserve(first, order(length))

    def allocate(self, length: int) -> int:
        """Return the first of `length` free elements. Raises FullError."""
        wanted = order(length)
        found = self._find(wanted)
        while found is None and self._quarantine:
            self._release(*self._quarantine.popleft())
            found = self._find(wanted)
        if found is None:
            raise FullError
        return found

    def free(self, first: int, length: int) -> None:
        self._quarantine.append((first, order(length)))
        if len(self._quarantine) > QUARANTINE:
            self._release(*self._quarantine.popleft())

    def cancel(self, first: int, length: int) -> None:
        """Free elements that no packet has read: they need no quarantine."""
        self._release(first, order(length))

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


def order(length: int) -> int:
    """Return the binary logarithm of the size of the block that holds `length` elements."""
    return max(0, length - 1).bit_length()
