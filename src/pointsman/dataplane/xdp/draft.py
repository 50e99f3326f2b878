# SPDX-License-Identifier: Apache-2.0
"""A draft of a service's list of servers: many operations make one new list.

Pure. Until the draft is put in force, packets and readers see the old list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pointsman.dataplane.xdp.server_list_format import Place, Step
from pointsman.model.service import RealServer


class Draft:
    """The next list of one service, and what has to be done when it is in force."""

    def __init__(self, places: Iterable[Place], weighted: bool) -> None:
        """`places`: the list in force, newest first. `weighted` is for wrr."""
        self._weights = {place.dest: place.weight for place in reversed(list(places))}
        self._counts = Counter(self._weights.values()) if weighted else None
        self.steps = [] if self._counts is None else [Step.of(self._counts)]
        """The weights of wrr in force, and after each operation that changed them."""
        self.joined: set[int] = set()
        """Servers that are not in the list in force."""
        self.left: set[int] = set()
        """Servers of the list in force that are deleted."""
        self.edited: dict[int, RealServer] = {}
        """Servers of the list in force with new values."""
        self.range: tuple[int, int] | None = None
        """Elements of `pm_members` that are reserved for the list: the first, and how many."""
        self.room = 0
        """Servers for which there is room in the reserved elements."""

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def is_changed(self) -> bool:
        """False if the list in force can stay."""
        return bool(self.joined or self.left or self.edited)

    def places(self) -> list[Place]:
        """Return the next list, newest first."""
        return [Place(*item) for item in reversed(self._weights.items())]

    def add(self, dest: int, weight: int) -> None:
        self.joined.add(dest)
        self._weights[dest] = weight
        self._count(weight, +1)

    def set_weight(self, dest: int, weight: int) -> None:
        self._count(self._weights[dest], -1, note=False)
        self._weights[dest] = weight
        self._count(weight, +1)

    def remove(self, dest: int) -> None:
        if dest in self.joined:
            self.joined.remove(dest)
        else:
            self.left.add(dest)
        self._count(self._weights.pop(dest), -1)

    def _count(self, weight: int, change: int, note: bool = True) -> None:
        """Count the weights, as their divisor takes too long to find in all servers after each operation."""
        if self._counts is None:
            return
        self._counts[weight] += change
        if not self._counts[weight]:
            del self._counts[weight]
        if note and (step := Step.of(self._counts)) != self.steps[-1]:
            self.steps.append(step)
