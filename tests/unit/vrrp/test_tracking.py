# SPDX-License-Identifier: Apache-2.0
"""Effects of trackers on an instance: keepalived's weights, with literal numbers."""

from __future__ import annotations

import pytest

from pointsman.model.tracking import Command, Tracked, TrackFile, TrackKind, TrackScript, VrrpSurroundings
from pointsman.model.vrrp import VrrpInstance
from pointsman.vrrp.first_results import FirstResults
from pointsman.vrrp.rise_fall import RiseFall
from pointsman.vrrp.tracking import Judgement, judge

SCRIPT, FILE, INTERFACE = TrackKind.SCRIPT, TrackKind.FILE, TrackKind.INTERFACE


def instance(*tracked: Tracked, priority: int = 100) -> VrrpInstance:
    return VrrpInstance(name="A", interface="eth0", virtual_router_id=1, priority=priority, tracked=tracked)


@pytest.mark.parametrize(
    ("weight", "reverse", "good", "fault", "priority"),
    [
        (0, False, 1, "", 100),
        (0, False, 0, "script s is down", 100),
        (0, True, 1, "script s is up", 100),
        (0, True, 0, "", 100),
        (20, False, 1, "", 120),
        (20, False, 0, "", 100),
        (20, True, 1, "", 80),
        (-20, False, 1, "", 100),
        (-20, False, 0, "", 80),
        (-20, True, 0, "", 120),
        (253, False, 1, "", 254),
        (-253, False, 0, "", 1),
    ],
)
def test_a_script(weight: int, reverse: bool, good: int, fault: str, priority: int) -> None:
    tracked = Tracked(kind=SCRIPT, name="s", weight=weight, reverse=reverse)
    assert judge(instance(tracked), {(SCRIPT, "s"): good}) == Judgement(fault, priority)


@pytest.mark.parametrize(
    ("weight", "reverse", "value", "fault", "priority"),
    [
        (1, False, -30, "", 70),
        (2, False, 10, "", 120),
        (2, True, 10, "", 80),
        (0, False, 1, "tracked file f contains 1", 100),
        (0, False, 0, "", 100),
        (0, True, 0, "tracked file f contains 0", 100),
        (1, False, -254, "tracked file f contains -254", 100),
        (1, False, 10**30, "", 254),
    ],
)
def test_a_file(weight: int, reverse: bool, value: int, fault: str, priority: int) -> None:
    tracked = Tracked(kind=FILE, name="f", weight=weight, reverse=reverse)
    assert judge(instance(tracked), {(FILE, "f"): value}) == Judgement(fault, priority)


def test_weights_add_up_and_the_first_fault_is_told() -> None:
    several = instance(
        Tracked(kind=SCRIPT, name="s", weight=-20),
        Tracked(kind=INTERFACE, name="eth1", weight=-30),
        Tracked(kind=INTERFACE, name="eth2"),
        Tracked(kind=SCRIPT, name="t"),
    )
    bad = {(SCRIPT, "s"): 0, (INTERFACE, "eth1"): 0, (INTERFACE, "eth2"): 0, (SCRIPT, "t"): 0}
    assert judge(several, bad) == Judgement("interface eth2 is down", 50)


@pytest.mark.parametrize("weight", [0, 20, -20])
def test_what_is_not_known_yet_counts_neither_way(weight: int) -> None:
    for kind in (SCRIPT, FILE, INTERFACE):
        assert judge(instance(Tracked(kind=kind, name="s", weight=weight)), {}) == Judgement("", 100)


@pytest.mark.parametrize(
    ("weight", "reverse", "priority", "awaited"),
    [
        (0, False, 100, True),
        (-20, False, 100, True),
        (20, True, 100, True),
        (20, False, 100, False),
        (-20, True, 100, False),
        (0, False, 255, True),
        (-20, False, 255, False),
    ],
)
def test_a_first_result_is_awaited_that_could_lower_the_priority_or_be_a_fault(
    weight: int, reverse: bool, priority: int, awaited: bool
) -> None:
    one = instance(Tracked(kind=SCRIPT, name="s", weight=weight, reverse=reverse), priority=priority)
    expected = ("script s",) if awaited else ()
    assert judge(one, {}, {(SCRIPT, "s")}) == Judgement("", priority, expected)
    assert judge(one, {}).awaited == (), "nobody expects a value of it"


def test_first_results_are_awaited_until_they_come_or_are_overdue() -> None:
    script = TrackScript(name="s", command=Command(("/bin/true",)), timeout=8.0)
    surroundings = VrrpSurroundings(scripts=(script,), files=(TrackFile(name="f", path="/f"),))
    results = FirstResults()
    results.expect(100.0, surroundings, {})
    results.expect(105.0, surroundings, {})
    assert (set(results.missing), results.deadline) == ({(SCRIPT, "s"), (FILE, "f")}, 110.0)
    results.on_value((FILE, "f"))
    assert results.deadline == 118.0, "the script's timeout and a margin"
    assert results.give_up(117.9) == []
    assert results.give_up(118.0) == [(SCRIPT, "s")]
    assert not results.missing
    results.expect(200.0, surroundings, {(SCRIPT, "s"): 1, (FILE, "f"): 0})
    assert not results.missing


def test_an_address_owner_keeps_its_priority() -> None:
    tracked = Tracked(kind=SCRIPT, name="s", weight=-20)
    assert judge(instance(tracked, priority=255), {(SCRIPT, "s"): 0}).priority == 255


def test_the_first_result_counts_at_once_and_later_ones_after_rise_or_fall() -> None:
    counter = RiseFall(rise=2, fall=3, init_fail=False)
    results = [True, False, False, True, False, False, False, True, False, True, True]
    assert [counter.result(good) for good in results] == [
        *(True, None, None, None, None, None),
        *(False, None, None, None, True),
    ]


def test_with_init_fail_successes_must_rise_first() -> None:
    counter = RiseFall(rise=2, fall=1, init_fail=True)
    assert [counter.result(good) for good in (True, True, False)] == [None, True, False]
