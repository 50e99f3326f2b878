# SPDX-License-Identifier: Apache-2.0
"""The VRRP machine gives up being master although it could go on."""

from __future__ import annotations

import pytest
from tests.unit.vrrp.machines import (
    BACKUP,
    DOWN,
    HIGHER,
    INIT,
    LOWER,
    MASTER,
    SKEW,
    advert,
    backup,
    machine,
    master,
)

from pointsman.vrrp.transitions import (
    Announce,
    Event,
    PriorityChanged,
    ReleaseAddresses,
    SendAdvert,
    StateChanged,
)
from pointsman.vrrp.yielding import GRACE


def test_a_master_that_hands_over_serves_until_another_one_advertises_and_a_moment_longer() -> None:
    router = master()
    assert router.yield_master(0.5)
    assert router.effects() == [SendAdvert(0)]
    router.advance(1.1)
    router.on_advert(1.2, LOWER, advert(100))
    assert router.effects() == []
    assert router.deadline == pytest.approx(1.2 + GRACE)
    router.advance(1.2 + GRACE)
    assert router.effects() == [
        ReleaseAddresses(),
        SendAdvert(1),
        StateChanged(MASTER, BACKUP, f"switchover on request: {LOWER} has taken over"),
    ]


def test_whoever_was_asked_to_take_over_is_not_preempted_until_it_is_gone() -> None:
    router = master()
    router.yield_master(0.5)
    router.on_advert(1.0, LOWER, advert(100))
    for second in range(1, 20):
        router.on_advert(float(second), LOWER, advert(100))
        router.advance(second + 0.5)
    assert router.state is BACKUP
    router.advance(19.0 + DOWN)
    assert router.state is MASTER
    router.on_advert(23.0, LOWER, advert(100))
    assert router.state is MASTER, "asked once, not for ever"


def test_a_master_that_nobody_relieves_goes_on() -> None:
    router = master()
    router.yield_master(0.5)
    router.advance(1.5)
    router.effects()
    router.advance(1.75)
    assert router.effects() == [SendAdvert(128), Announce(5)]
    assert router.state is MASTER
    assert router.deadline == 2.75


@pytest.mark.parametrize(("relieved", "ends"), [(True, 0.6 + GRACE), (False, 1.75)])
def test_a_master_that_retires_waits_for_its_successor_but_not_for_ever(relieved: bool, ends: float) -> None:
    router = master()
    router.yield_and_stop(0.5)
    assert router.effects() == [SendAdvert(0)]
    if relieved:
        router.on_advert(0.6, LOWER, advert(100))
    router.advance(ends - 0.01)
    assert (router.state, router.effects()) == (MASTER, [])
    router.advance(ends)
    assert router.effects() == [
        ReleaseAddresses(),
        StateChanged(MASTER, INIT, f"stopping: {LOWER if relieved else 'no other router'} has taken over"),
    ]


def test_a_demoted_master_hands_over_at_once_to_a_rival_it_knows_to_be_better() -> None:
    router = backup(-10.0)
    router.on_advert(-8.0, LOWER, advert(100))  # a lower one that was master before it was preempted
    router.advance(0.0)
    router.effects()
    router.set_priority(0.5, 78)
    assert router.effects() == [PriorityChanged(78), SendAdvert(0)]
    router.on_advert(1.0, LOWER, advert(100))
    router.advance(1.0 + GRACE)
    assert router.state is BACKUP


@pytest.mark.parametrize("rival", [0, 50])
def test_a_demoted_master_that_knows_no_better_one_advertises_its_new_priority_at_once(rival: int) -> None:
    router = backup(-10.0)
    if rival:
        router.on_advert(-8.0, LOWER, advert(rival))
    router.advance(0.0)
    router.effects()
    router.set_priority(0.5, 78)
    assert router.effects() == [PriorityChanged(78), SendAdvert(78)]
    assert router.deadline == 1.5


def test_a_backup_takes_over_from_a_master_that_was_demoted_without_three_intervals_of_waiting() -> None:
    router = backup()
    router.on_advert(1.0, HIGHER, advert(200))
    router.on_advert(2.0, HIGHER, advert(100))
    assert router.deadline == 2.0 + SKEW
    router.advance(2.0 + SKEW)
    assert router.state is MASTER


def test_an_address_owner_is_never_demoted() -> None:
    router = machine(priority=255)
    router.start(0.0, link_up=True)
    router.set_priority(1.0, 100)
    assert router.priority == 255


def test_a_master_that_was_stalled_leaves_an_equal_successor_alone() -> None:
    router = master()
    router.on_advert(3.4, LOWER, advert(128))
    assert router.state is MASTER, "a healed split: the higher address stays"
    router = master()
    router.on_advert(20.0, LOWER, advert(128))
    assert router.effects() == [
        ReleaseAddresses(),
        SendAdvert(1),  # its own priority would take the mastership back
        StateChanged(MASTER, BACKUP, f"{Event.STALLED.value}: {LOWER} has priority 128, here it is 128"),
    ]
