# SPDX-License-Identifier: Apache-2.0
"""The schedule as a filter of streams: outcomes of probes in, verdicts out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pointsman.health.schedule import CheckSchedule, StartProbe, Timing, Verdict

TIMINGS = st.builds(
    Timing,
    delay_loop=st.floats(0.1, 60.0),
    delay_before_retry=st.floats(0.0, 60.0),
    retry=st.integers(0, 4),
)
OUTCOMES = st.lists(st.tuples(st.sampled_from([True, False, None]), st.floats(0.0, 10.0)), max_size=40)
"""Passed, failed, or could not be made; and how long the probe took."""


def verdicts_expected(retry: int, outcomes: list[bool]) -> list[bool]:
    """The definition: up at any success; down at the first probe, or at retry + 1 failures in a row."""
    verdicts: list[bool] = []
    row = 0
    for number, ok in enumerate(outcomes):
        row = 0 if ok else row + 1
        decided = ok or number == 0 or row > retry
        if decided and (not verdicts or verdicts[-1] is not ok):
            verdicts.append(ok)
    return verdicts


@given(TIMINGS, OUTCOMES)
def test_verdicts_follow_the_definition(timing: Timing, outcomes: list[tuple[bool | None, float]]) -> None:
    schedule = CheckSchedule(timing)
    schedule.start(0.0, 0.0)
    seen: list[bool] = []
    row = 0
    for ok, took in outcomes:
        now = schedule.deadline
        assert now is not None
        schedule.advance(now)
        assert schedule.effects() == [StartProbe()]
        assert schedule.deadline is None
        if ok is None:
            schedule.on_unable(now + took)
        else:
            row = 0 if ok else row + 1
            schedule.on_result(now + took, ok, "")
        told = [effect for effect in schedule.effects() if isinstance(effect, Verdict)]
        assert all(verdict.attempts == (1 if verdict.up else row) for verdict in told)
        seen += [verdict.up for verdict in told]
        assert schedule.up is (seen[-1] if seen else None)
        assert schedule.deadline in (
            now + took + timing.delay_loop,
            now + took + timing.delay_before_retry,
        )
    assert seen == verdicts_expected(timing.retry, [ok for ok, _ in outcomes if ok is not None])


@given(TIMINGS, st.integers(0, 20))
def test_a_dead_server_is_removed_within_the_promised_time(timing: Timing, healthy: int) -> None:
    """The bound of the manual: delay_loop + (retry + 1) timeouts + retry pauses, from death to verdict."""
    connect_timeout = 3.0
    schedule = CheckSchedule(timing)
    schedule.start(0.0, 0.0)
    now = 0.0
    for _ in range(healthy + 1):
        now = schedule.deadline or 0.0
        schedule.advance(now)
        schedule.on_result(now, True, "")
    died = now
    while schedule.up:
        now = schedule.deadline or 0.0
        schedule.advance(now)
        now += connect_timeout
        schedule.on_result(now, False, "")
    bound = (
        timing.delay_loop + (timing.retry + 1) * connect_timeout + timing.retry * timing.delay_before_retry
    )
    assert now - died <= bound + 1e-6
