# SPDX-License-Identifier: Apache-2.0
"""The check schedule with a virtual clock: one rule a test."""

from __future__ import annotations

import itertools

import pytest

from pointsman.health.schedule import CheckSchedule, StartProbe, Timing, Verdict, phases

TIMING = Timing(delay_loop=6.0, delay_before_retry=3.0, retry=2)


def probing(timing: Timing = TIMING, now: float = 0.0) -> CheckSchedule:
    """A schedule whose first probe has just started at `now`."""
    schedule = CheckSchedule(timing)
    schedule.start(now - 1.0, 0.0)
    schedule.advance(now)
    assert schedule.effects() == [StartProbe()]
    return schedule


def again(schedule: CheckSchedule) -> float:
    """Let the next probe start at its deadline; when that was."""
    due = schedule.deadline
    assert due is not None
    schedule.advance(due)
    assert schedule.effects() == [StartProbe()]
    return due


@pytest.mark.parametrize(("phase", "first"), [(0.0, 11.0), (2.5, 13.5), (6.0, 17.0)])
def test_the_first_probe_comes_one_second_and_its_share_of_the_warm_up_after_the_start(
    phase: float, first: float
) -> None:
    schedule = CheckSchedule(TIMING)
    assert schedule.deadline is None
    schedule.start(10.0, phase)
    assert schedule.deadline == first


def test_nothing_happens_before_the_deadline_and_one_probe_at_it() -> None:
    schedule = CheckSchedule(TIMING)
    schedule.start(0.0, 0.0)
    schedule.advance(0.999)
    assert schedule.effects() == []
    schedule.advance(1.0)
    schedule.advance(50.0)
    assert schedule.effects() == [StartProbe()]
    assert schedule.deadline is None


def test_the_first_success_is_a_verdict_and_later_ones_are_not() -> None:
    schedule = probing()
    schedule.on_result(0.1, True, "connected")
    assert schedule.effects() == [Verdict(True, "connected", 1)]
    assert again(schedule) == pytest.approx(6.1)
    schedule.on_result(6.2, True, "connected")
    assert schedule.effects() == []


def test_the_very_first_failure_is_a_verdict_without_repetition() -> None:
    schedule = probing()
    schedule.on_result(0.1, False, "refused")
    assert schedule.effects() == [Verdict(False, "refused", 1)]
    assert schedule.deadline == pytest.approx(6.1)


def test_a_failure_is_repeated_retry_times_then_it_is_a_verdict() -> None:
    schedule = probing()
    schedule.on_result(0.0, True, "connected")
    schedule.effects()
    assert again(schedule) == 6.0
    schedule.on_result(6.0, False, "one")
    assert again(schedule) == 9.0
    schedule.on_result(9.0, False, "two")
    assert again(schedule) == 12.0
    assert schedule.up is True
    schedule.on_result(12.0, False, "three")
    assert schedule.effects() == [Verdict(False, "three", 3)]
    assert schedule.up is False
    assert again(schedule) == 18.0


def test_a_success_between_failures_forgets_them() -> None:
    schedule = probing()
    for now, ok in [(0.0, True), (6.0, False), (9.0, False), (12.0, True), (18.0, False), (21.0, False)]:
        schedule.on_result(now, ok, "")
        schedule.effects()
        again(schedule)
    assert schedule.up is True


def test_one_success_brings_it_back() -> None:
    schedule = probing()
    schedule.on_result(0.0, False, "refused")
    schedule.effects()
    again(schedule)
    schedule.on_result(6.0, True, "connected")
    assert schedule.effects() == [Verdict(True, "connected", 1)]


def test_pauses_count_from_the_end_of_a_probe() -> None:
    schedule = probing()
    schedule.on_result(0.0, True, "")
    schedule.effects()
    assert again(schedule) == 6.0
    schedule.on_result(9.0, False, "timeout")
    assert again(schedule) == 12.0


def test_while_down_failures_are_repeated_as_keepalived_2_2_does() -> None:
    schedule = probing(Timing(delay_loop=6.0, delay_before_retry=3.0, retry=1))
    schedule.on_result(0.0, False, "")
    starts = []
    for _ in range(4):
        schedule.effects()
        starts.append(again(schedule))
        schedule.on_result(starts[-1], False, "")
    assert starts == [6.0, 9.0, 15.0, 18.0]
    assert schedule.effects() == []


def test_a_probe_that_could_not_be_made_is_no_opinion() -> None:
    schedule = probing()
    schedule.on_unable(0.0)
    assert schedule.effects() == []
    assert schedule.up is None
    assert again(schedule) == 6.0
    schedule.on_result(6.0, False, "refused")
    assert schedule.effects() == [Verdict(False, "refused", 1)]


def test_phases_fill_the_warm_up_evenly_and_stay_inside_it() -> None:
    spread = phases([0.99, 0.0, 0.5, 0.25], 8.0)
    assert spread == [1.98, 2.0, 5.0, 6.5]
    assert phases([], 8.0) == []


def test_ten_thousand_checks_never_start_together() -> None:
    spread = sorted(phases([0.5] * 10_000, 1.0))
    assert min(later - earlier for earlier, later in itertools.pairwise(spread)) > 0.99e-4


def test_rise_asks_for_several_successes_in_a_row_after_a_down_verdict() -> None:
    schedule = probing(Timing(delay_loop=6.0, delay_before_retry=3.0, retry=0, rise=3))
    schedule.on_result(0.0, True, "")
    assert schedule.effects() == [Verdict(True, "", 1)], "the first verdict needs one success only"
    told = []
    for ok in (False, True, True, False, True, True, True):
        now = again(schedule)
        schedule.on_result(now, ok, "")
        told.append([effect.up for effect in schedule.effects() if isinstance(effect, Verdict)])
    assert told == [[False], [], [], [], [], [], [True]]


def test_most_checks_do_not_retry_a_server_that_is_down() -> None:
    schedule = probing(Timing(delay_loop=6.0, delay_before_retry=1.0, retry=2, retry_while_down=False))
    schedule.on_result(0.0, False, "")
    assert schedule.effects() == [Verdict(False, "", 1)]
    for _ in range(3):
        now = again(schedule)
        schedule.on_result(now, False, "")
        assert schedule.deadline == now + 6.0
    schedule.on_result(again(schedule), True, "")
    assert [effect.up for effect in schedule.effects() if isinstance(effect, Verdict)] == [True]
    now = again(schedule)
    schedule.on_result(now, False, "")
    assert schedule.deadline == now + 1.0


def test_pauses_from_the_start_of_a_program() -> None:
    schedule = probing(Timing(delay_loop=6.0, delay_before_retry=1.0, retry=0, from_start=True))
    schedule.on_result(2.0, True, "")
    schedule.effects()
    assert again(schedule) == 6.0
    schedule.on_result(20.0, True, "")
    assert schedule.deadline == 20.0, "one that took longer is followed at once"
