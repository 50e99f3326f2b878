# SPDX-License-Identifier: Apache-2.0
"""The format of a list of servers, and the position of a scheduler after an edit.

Pure functions. Their result is written to `pm_members` and put in force by one store (bpf/sched.h). The rules
are those of ip_vs_rr.c and ip_vs_wrr.c. Lists are newest first, as in the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

MAX_COUNT = 0xFFFF
_GENERATIONS = 1 << 16
SHORT = 8
"""The longest list without blocks: a scan of its servers is as fast as a scan with blocks."""
LEAST_COST = frozenset({"lc", "wlc", "sed", "nq", "fo", "ovf", "lblc", "lblcr"})
"""Schedulers whose lists are divided into blocks (bpf/sched_wlc.h)."""


class Place(NamedTuple):
    """A server in a list."""

    dest: int
    weight: int


class Cursor(NamedTuple):
    """Position of a scheduler: 0 is before the first server, n is at the n-th. Only wrr uses `level`."""

    position: int = 0
    level: int = 0

    def word(self, generation: int) -> int:
        return self.position | self.level << 16 | generation << 48

    @classmethod
    def of(cls, word: int) -> Cursor:
        return cls(word & 0xFFFF, word >> 16 & 0xFFFFFFFF)


class ListWord(NamedTuple):
    """The parts of service.list."""

    first: int
    length: int
    generation: int
    scheduler: int

    def word(self) -> int:
        return self.first | self.length << 28 | self.generation << 44 | self.scheduler << 60

    @classmethod
    def of(cls, word: int) -> ListWord:
        return cls(word & 0xFFFFFFF, word >> 28 & 0xFFFF, word >> 44 & 0xFFFF, word >> 60)

    @property
    def next_generation(self) -> int:
        return (self.generation + 1) % _GENERATIONS


def scale(weights: Collection[int]) -> int:
    """Return the step of wrr: the greatest common divisor of all weights above 0; 1 if there is none."""
    return math.gcd(*weights) or 1


class Step(NamedTuple):
    """The step of the weights of wrr, and its highest level: the position depends on them."""

    scale: int
    highest: int

    @classmethod
    def of(cls, weights: Collection[int]) -> Step:
        step = scale(weights)
        return cls(step, max(weights, default=0) // step)


def elements(places: Sequence[Place], weighted: bool, start: int, blocks: int = 0) -> list[int]:
    """Return the elements of `pm_members`: head, then servers. `weighted` is for wrr, `blocks` for others."""
    step = scale([place.weight for place in places]) if weighted else 1
    head = max((place.weight // step for place in places), default=0) if weighted else blocks
    return [start, head, *(place.dest | place.weight // step << 32 for place in places)]


class Blocks(NamedTuple):
    """The division of a long list into blocks (bpf/sched_wlc.h)."""

    total: int
    shift: int
    """A block has 1 << shift servers; the last one has the rest."""

    @classmethod
    def of(cls, length: int) -> Blocks:
        """Divide a list into about as many blocks as a block has servers. A short list has no blocks."""
        if length <= SHORT:
            return cls(0, 0)
        shift = (length.bit_length() - 1) // 2
        return cls(-(-length // (1 << shift)), shift)


def start_of(weighted: bool, places: Sequence[Place]) -> Cursor:
    """Return the first position of a scheduler (rr: before the first server; wrr: the highest level)."""
    if not weighted:
        return Cursor()
    return Cursor(0, Step.of([place.weight for place in places]).highest)


def rr_after_edit(cursor: Cursor, before: Sequence[Place], after: Sequence[Place]) -> Cursor:
    """Return the position of rr after servers were added, edited or deleted.

    It steps back if the server at its position is deleted (ip_vs_rr_del_dest).
    """
    kept = {place.dest: position for position, place in enumerate(after, 1)}
    for place in reversed(before[: cursor.position]):
        if place.dest in kept:
            return Cursor(kept[place.dest])
    return Cursor()


def wrr_after_edits(cursor: Cursor, steps: Sequence[Step]) -> Cursor:
    """Return the position of wrr after edits. `steps`: before the first edit, and after each one.

    It returns to the head; it keeps its level, limited by the new weights (ip_vs_wrr_dest_changed).
    """
    level = cursor.level
    for old, new in pairwise([*steps, steps[-1]]):
        # The kernel's cw is (level - 1) * di + 1; it is rounded down to a step of the new divisor.
        current = (level - 1) * old.scale + 1
        if level == 0 or current > (new.highest - 1) * new.scale + 1:
            level = new.highest
        else:
            level = current // new.scale + 1 if new.scale > 1 else current
    return Cursor(0, level)
