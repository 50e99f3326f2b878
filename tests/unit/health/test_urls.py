# SPDX-License-Identifier: Apache-2.0
"""The schedule of HTTP checks with a virtual clock: one rule of keepalived's epilog a test."""

from __future__ import annotations

import pytest

from pointsman.health.schedule import StartProbe, Timing, Verdict
from pointsman.health.urls import UrlSchedule

TIMING = Timing(delay_loop=6.0, delay_before_retry=3.0, retry=2)


class Walk:
    """A schedule whose probes end at once."""

    def __init__(self, urls: int = 3, fast: bool = False, timing: Timing = TIMING) -> None:
        self.schedule = UrlSchedule(timing, urls, fast)
        self.schedule.start(-1.0, 0.0)
        self.now = 0.0

    def fetch(self, ok: bool) -> tuple[int, float, list[bool]]:
        """URL that was fetched, pause after it, verdicts."""
        assert self.schedule.deadline is not None
        self.now = self.schedule.deadline
        self.schedule.advance(self.now)
        (start,) = self.schedule.effects()
        assert isinstance(start, StartProbe)
        self.schedule.on_result(self.now, ok, "why")
        verdicts = [effect.up for effect in self.schedule.effects() if isinstance(effect, Verdict)]
        return start.step, self.schedule.deadline - self.now, verdicts

    def up(self) -> Walk:
        """After a first round that passed."""
        while self.schedule.up is None:
            self.fetch(True)
        return self


def test_one_url_a_delay_loop_and_the_verdict_after_the_last() -> None:
    walk = Walk()
    assert [walk.fetch(True) for _ in range(5)] == [
        (0, 6.0, []),
        (1, 6.0, []),
        (2, 6.0, [True]),
        (0, 6.0, []),
        (1, 6.0, []),
    ]


def test_a_failed_url_is_repeated_and_then_brings_the_server_down() -> None:
    walk = Walk().up()
    walk.fetch(True)
    assert [walk.fetch(False) for _ in range(3)] == [(1, 3.0, []), (1, 3.0, []), (1, 6.0, [False])]


def test_a_url_that_answers_a_repetition_goes_on_with_the_next() -> None:
    walk = Walk().up()
    assert [walk.fetch(ok) for ok in (False, False, True)] == [(0, 3.0, []), (0, 3.0, []), (0, 6.0, [])]
    assert walk.fetch(False) == (1, 3.0, [])
    assert walk.fetch(False) == (1, 3.0, []), "a success gives all repetitions back"


@pytest.mark.parametrize("passed", [0, 1, 2])
def test_in_the_first_round_one_failure_is_enough(passed: int) -> None:
    walk = Walk()
    for _ in range(passed):
        walk.fetch(True)
    assert walk.fetch(False) == (passed, 6.0, [False])


def test_the_failed_url_is_asked_until_it_answers_then_all_have_to_pass() -> None:
    walk = Walk()
    walk.fetch(True)
    walk.fetch(False)
    assert walk.fetch(False) == (1, 6.0, [])
    assert walk.fetch(True) == (1, 6.0, [])
    assert [walk.fetch(True) for _ in range(3)] == [(0, 6.0, []), (1, 6.0, []), (2, 6.0, [True])]


def test_a_single_url_has_to_answer_twice_to_bring_the_server_back() -> None:
    walk = Walk(urls=1).up()
    for _ in range(3):
        walk.fetch(False)
    assert [walk.fetch(True), walk.fetch(True)] == [(0, 6.0, []), (0, 6.0, [True])]


def test_a_failure_on_the_way_back_is_repeated_at_the_same_url_without_end() -> None:
    walk = Walk()
    walk.fetch(False)
    walk.fetch(True)
    walk.fetch(True)
    assert [walk.fetch(False) for _ in range(5)] == [(1, 3.0, [])] * 5
    assert [walk.fetch(True) for _ in range(2)] == [(1, 6.0, []), (2, 6.0, [True])]


def test_without_a_pause_between_retries_the_way_back_does_not_spin() -> None:
    walk = Walk(timing=Timing(delay_loop=6.0, delay_before_retry=0.0, retry=0))
    walk.fetch(False)
    walk.fetch(True)
    assert walk.fetch(False) == (0, 6.0, [])


def test_fast_recovery_leaves_the_pauses_out_at_the_start_and_on_the_way_back() -> None:
    walk = Walk(fast=True)
    assert [walk.fetch(True) for _ in range(4)] == [
        (0, 0.0, []),
        (1, 0.0, []),
        (2, 6.0, [True]),
        (0, 6.0, []),
    ]
    for _ in range(3):
        walk.fetch(False)
    assert walk.fetch(False) == (1, 6.0, []), "the failed URL itself is not hurried"
    assert [walk.fetch(True) for _ in range(4)] == [
        (1, 0.0, []),
        (0, 0.0, []),
        (1, 0.0, []),
        (2, 6.0, [True]),
    ]


def test_the_longer_delay_counts_for_a_failed_url() -> None:
    walk = Walk(timing=Timing(delay_loop=1.0, delay_before_retry=5.0, retry=0))
    assert walk.fetch(False) == (0, 5.0, [False])


def test_rise_asks_for_several_rounds() -> None:
    walk = Walk(urls=2, timing=Timing(delay_loop=6.0, delay_before_retry=3.0, retry=0, rise=2))
    walk.fetch(False)
    assert [walk.fetch(True)[2] for _ in range(5)] == [[], [], [], [], [True]]


def test_an_error_of_our_own_changes_nothing() -> None:
    walk = Walk().up()
    walk.now = walk.schedule.deadline or 0.0
    walk.schedule.advance(walk.now)
    walk.schedule.effects()
    walk.schedule.on_unable(walk.now)
    assert walk.schedule.deadline == walk.now + 6.0
    assert walk.fetch(True) == (0, 6.0, [])
