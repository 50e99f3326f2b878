# SPDX-License-Identifier: Apache-2.0
"""Each change of state says its true cause: silence is one of several."""

from __future__ import annotations

from tests.unit.vrrp.machines import DOWN, HIGHER, LOWER, SKEW, advert, backup, machine, master

from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import StateChanged


def cause(router: VrrpMachine) -> str:
    """The reason of the last change of state."""
    return [effect.reason for effect in router.effects() if isinstance(effect, StateChanged)][-1]


def test_a_backup_that_never_heard_a_master() -> None:
    router = backup()
    router.advance(DOWN + 1.0)
    assert cause(router) == "no advert from a master"


def test_a_backup_whose_master_is_silent() -> None:
    router = backup()
    router.on_advert(1.0, HIGHER, advert(200))
    router.advance(1.0 + DOWN)
    assert cause(router) == f"no advert from {HIGHER} for {DOWN:.2g} s"


def test_a_planned_hand_over_is_no_silence() -> None:
    router = backup()
    router.on_advert(1.0, HIGHER, advert(200))
    router.on_advert(2.0, HIGHER, advert(0))
    router.advance(2.0 + SKEW)
    assert cause(router) == f"{HIGHER} hands over: it sent priority 0"


def test_a_master_that_changes_its_mind_and_then_dies_is_silent() -> None:
    router = backup()
    router.on_advert(1.0, HIGHER, advert(0))
    router.on_advert(1.1, HIGHER, advert(200))
    router.advance(1.1 + DOWN)
    assert cause(router) == f"no advert from {HIGHER} for {DOWN:.2g} s"


def test_a_worse_master_is_preempted() -> None:
    router = backup()
    for second in range(1, 6):
        router.on_advert(second / 2, LOWER, advert(100))
    router.advance(DOWN + 1.0)
    assert cause(router) == f"{LOWER} is master with priority 100, here it is 128"


def test_a_master_whose_priority_falls_below_a_rival_s() -> None:
    router = master()
    router.on_advert(0.2, LOWER, advert(120))
    router.set_priority(0.5, 100)
    router.on_advert(0.6, LOWER, advert(120))
    router.advance(0.7)
    assert cause(router) == f"the priority here fell to 100, below 120: {LOWER} has taken over"


def test_a_member_follows_its_sync_group() -> None:
    router = machine()
    router.grouped = True
    router.start(0.0, link_up=True)
    router.become_master(1.0)
    assert cause(router) == "its sync group becomes master"
