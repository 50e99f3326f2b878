# SPDX-License-Identifier: Apache-2.0
"""Every pair of state and event does what the table says."""

from __future__ import annotations

import itertools

import pytest
from tests.unit.vrrp.machines import (
    BACKUP,
    FAULT,
    HIGHER,
    INIT,
    LOWER,
    MASTER,
    advert,
    backup,
    machine,
    master,
)

from pointsman.model.vrrp import VrrpState
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import TRANSITIONS, Event, Residual, StateChanged
from pointsman.vrrp.yielding import GRACE


def provoke(router: VrrpMachine, event: Event) -> None:
    """Make this event happen, whatever the state is."""
    now = 100.0
    match event:
        case Event.START | Event.START_AS_OWNER:
            router.start(now, link_up=True)
        case Event.RESUME:
            router.start(now, link_up=True, residual=Residual(addresses=True, last_advert=now))
        case Event.START_WITHOUT_LINK:
            router.start(now, link_up=False)
        case Event.MASTER_DOWN:
            router.advance(now)
        case Event.BETTER_ADVERT:
            router.on_advert(now, HIGHER, advert(255))
        case Event.STALLED if router.state is MASTER:
            router.on_advert(now, LOWER, advert(router.priority))
        case Event.FAULT:
            router.fail(now, "interface down")
        case Event.RECOVERY | Event.RECOVERY_AS_OWNER:
            router.recover(now)
        case Event.YIELDED if router.yield_master(now):
            router.on_advert(now, LOWER, advert(1))
            router.advance(now + GRACE)
        case Event.GROUP_BACKUP:
            router.on_group_backup(now)
        case Event.YIELDED_AND_STOPPED if router.state is MASTER:
            router.yield_and_stop(now)
            router.on_advert(now, LOWER, advert(1))
            router.advance(now + GRACE)
        case Event.STOP:
            router.stop(now)


def in_state(state: VrrpState, priority: int) -> VrrpMachine:
    if state is INIT:
        return machine(priority=priority)
    if state is FAULT:
        router = machine(priority=priority)
        router.start(0.0, link_up=False)
    elif state is MASTER:
        router = master(priority=priority)
    else:
        router = backup(priority=priority)
    router.effects()
    return router


OF_AN_OWNER = (Event.START_AS_OWNER, Event.RECOVERY_AS_OWNER)
PAIRS = [
    (state, event)
    for state, event in itertools.product(VrrpState, Event)
    if not (state is BACKUP and event in OF_AN_OWNER)  # an address owner is never backup
]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_pair_of_state_and_event(state: VrrpState, event: Event) -> None:
    router = in_state(state, 255 if event in OF_AN_OWNER else 128)
    provoke(router, event)
    expected, _ = TRANSITIONS.get((state, event), (state, ()))
    assert router.state is expected
    changes = [effect for effect in router.effects() if isinstance(effect, StateChanged)]
    if (state, event) in TRANSITIONS:
        (change,) = changes
        assert (change.previous, change.state) == (state, expected)
        assert change.reason == "interface down" if expected is FAULT else change.reason
    else:
        assert changes == []
    assert router.holds_addresses is (expected is MASTER)


def test_only_a_master_holds_timers_of_a_master() -> None:
    for (state, event), (following, _) in TRANSITIONS.items():
        router = in_state(state, 255 if event in OF_AN_OWNER else 128)
        provoke(router, event)
        assert (router.deadline is None) is (following in (INIT, FAULT))
