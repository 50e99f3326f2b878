# SPDX-License-Identifier: Apache-2.0
"""Suspicion of a real server (passive_check), and the earlier check that follows."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pointsman.health.passive_check import PAUSE, PassiveChecks
from pointsman.health.schedule import CheckSchedule, Schedule, StartProbe, Timing
from pointsman.health.urls import UrlSchedule
from pointsman.model.service import ServerKey, ServiceKey, Transport
from pointsman.model.traffic import PassiveCounters

KEY = (ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80), ServerKey(ip_address("192.0.2.20"), 80))


def reasons(*looks: tuple[float, PassiveCounters]) -> list[list[str]]:
    suspicions = PassiveChecks()
    return [[found.reason for found in suspicions.find_suspects(now, {KEY: signs})] for now, signs in looks]


def test_what_was_counted_before_the_first_look_means_nothing() -> None:
    assert reasons((0.0, PassiveCounters(9, 9, 9)), (1.0, PassiveCounters(9, 9, 9))) == [[], []]


def test_one_repeated_syn_is_a_suspicion_once_in_a_while() -> None:
    looks = [
        (now, PassiveCounters(0, round(now), 0)) for now in (0.0, 1.0, 2.0, PAUSE, PAUSE + 1.0, PAUSE + 2.0)
    ]
    assert reasons(*looks) == [[], ["1 SYN repeated by clients"], [], [], ["1 SYN repeated by clients"], []]


@pytest.mark.parametrize(
    ("begun", "aborted", "suspected"),
    [(4, 2, False), (4, 3, True), (6, 3, True), (7, 3, False), (0, 3, True)],
)
def test_resets_mean_something_when_they_are_many_beside_the_connections(
    begun: int, aborted: int, suspected: bool
) -> None:
    _, found = reasons((0.0, PassiveCounters()), (1.0, PassiveCounters(begun, 0, aborted)))
    assert found == [f"{aborted} connections reset by clients"] * suspected


def test_counters_wrap_around() -> None:
    _, found = reasons((0.0, PassiveCounters(0, (1 << 32) - 1, 0)), (1.0, PassiveCounters(0, 1, 0)))
    assert found == ["2 SYNs repeated by clients"]


def test_a_server_that_comes_anew_is_not_held_against_its_former_life() -> None:
    suspicions = PassiveChecks()
    assert suspicions.find_suspects(0.0, {KEY: PassiveCounters()}) == suspicions.find_suspects(1.0, {}) == []
    assert suspicions.find_suspects(2.0, {KEY: PassiveCounters(5, 5, 5)}) == []


TIMING = Timing(delay_loop=60.0, delay_before_retry=10.0, retry=1)


@pytest.mark.parametrize("schedule", [CheckSchedule(TIMING), UrlSchedule(TIMING, 1, False)])
def test_a_check_hurries_only_when_all_seems_well(schedule: Schedule) -> None:
    schedule.start(0.0, 0.0)
    assert not schedule.check_at_once(0.5), "nothing is known yet"
    schedule.advance(1.0)
    assert not schedule.check_at_once(1.0), "a probe is under way"
    schedule.on_result(1.0, True, "")
    assert schedule.check_at_once(2.0) and schedule.deadline == 2.0
    schedule.effects()
    schedule.advance(2.0)
    assert schedule.effects() == [StartProbe()]
    schedule.on_result(2.0, False, "")
    assert not schedule.check_at_once(3.0) and schedule.deadline == 12.0, "the repetition keeps its pause"
    schedule.advance(12.0)
    schedule.on_result(12.0, False, "")
    assert schedule.up is False
    assert not schedule.check_at_once(13.0)
