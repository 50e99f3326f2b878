# SPDX-License-Identifier: Apache-2.0
"""Deadlines of many: the queue knows what asking all of them would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.daemon.vrrp.deadlines import DeadlineQueue

TIMES = st.one_of(st.none(), st.integers(0, 30).map(float))


class Clock:
    """Wants to be called at a time; counts how often it has been asked for it."""

    def __init__(self) -> None:
        self.wanted: float | None = None
        self.asked = 0

    @property
    def deadline(self) -> float | None:
        self.asked += 1
        return self.wanted


@given(st.lists(st.tuples(st.integers(0, 4), TIMES, st.booleans(), st.booleans()), max_size=60))
def test_it_is_what_asking_everybody_would_be(story: list[tuple[int, float | None, bool, bool]]) -> None:
    queue: DeadlineQueue[Clock] = DeadlineQueue()
    clocks = [Clock() for _ in range(5)]
    gone: set[Clock] = set()
    for now, (number, wanted, look, leaves) in enumerate(story):
        clock = clocks[number]
        clock.wanted = wanted
        queue.touch(clock)
        gone.discard(clock)
        if leaves:
            queue.remove(clock)
            gone.add(clock)
        deadlines = {each: each.wanted for each in clocks if each not in gone and each.wanted is not None}
        if look:
            assert queue.first() == min(deadlines.values(), default=None)
        due = queue.due(float(now))
        assert set(due) == {each for each, at in deadlines.items() if at <= now}
        assert len(due) == len(set(due))
        assert [deadlines[each] for each in due] == sorted(deadlines[each] for each in due)
        for each in due[:1]:  # the others do nothing, and stay due
            each.wanted = now + 7.0
            queue.touch(each)


def test_only_those_that_were_touched_are_asked() -> None:
    queue: DeadlineQueue[Clock] = DeadlineQueue()
    clocks = [Clock() for _ in range(100)]
    for number, clock in enumerate(clocks):
        clock.wanted = 10.0 + number
        queue.touch(clock)
    assert queue.first() == 10.0
    clocks[0].wanted = 500.0
    queue.touch(clocks[0])
    assert queue.first() == 11.0
    assert queue.due(10.5) == []
    assert [clock.asked for clock in clocks] == [2] + [1] * 99


def test_deadlines_that_move_away_for_ever_take_no_memory() -> None:
    queue: DeadlineQueue[Clock] = DeadlineQueue()
    clock = Clock()
    for number in range(1000):
        clock.wanted = float(number % 3 + number)
        queue.touch(clock)
        queue.first()
    assert len(queue._heap) <= 2


def test_those_that_move_away_untouched_are_looked_at_together_and_never_late() -> None:
    queue: DeadlineQueue[Clock] = DeadlineQueue()
    clocks = [Clock() for _ in range(100)]
    for number, clock in enumerate(clocks):
        clock.wanted = 3.0 + number / 100
        queue.touch(clock)
    queue.first()
    looks = 0
    while (at := queue.first()) is not None and at < 60.0:
        looks += 1
        heard = int(at)  # all of them are put off by 3.6 s once a second, as by a master's adverts
        for number, clock in enumerate(clocks):
            clock.wanted = heard + 3.6 + number / 1000
        assert queue.due(at) == []
    assert looks <= 100 + 2 * 60, "the first time one by one"
    due: dict[Clock, float] = {}
    while len(due) < 100:
        at = queue.first()
        assert at is not None
        for clock in queue.due(at):
            due[clock] = at
            clock.wanted = None
            queue.touch(clock)
    assert [due[clock] for clock in clocks] == [heard + 3.6 + number / 1000 for number in range(100)]


def test_changes_are_told_once() -> None:
    queue: DeadlineQueue[Clock] = DeadlineQueue()
    clock = Clock()
    queue.touch(clock)
    queue.first()
    assert queue.changed() == {clock}
    assert queue.changed() == set()
