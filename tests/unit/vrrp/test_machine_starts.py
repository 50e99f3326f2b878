# SPDX-License-Identifier: Apache-2.0
"""The VRRP machine leaves INIT: with a link, without one, after a crash."""

from __future__ import annotations

import pytest
from tests.unit.vrrp.machines import (
    BACKUP,
    BECOMING_MASTER,
    DOWN,
    FAULT,
    HIGHER,
    INIT,
    MASTER,
    advert,
    machine,
)

from pointsman.model.vrrp import VrrpState
from pointsman.vrrp.transitions import Event, ReleaseAddresses, Residual, SendAdvert, StateChanged


@pytest.mark.parametrize("initial", [MASTER, BACKUP])
def test_start_waits_for_the_master_down_interval_whatever_the_initial_state(initial: VrrpState) -> None:
    router = machine(initial_state=initial)
    router.start(100.0, link_up=True)
    assert router.effects() == [StateChanged(INIT, BACKUP, Event.START.value)]
    assert router.deadline == 100.0 + DOWN
    router.advance(103.49)
    assert router.effects() == []
    router.advance(103.5)
    assert router.effects() == [*BECOMING_MASTER, StateChanged(BACKUP, MASTER, Event.MASTER_DOWN.value)]


def test_the_address_owner_is_master_at_once() -> None:
    router = machine(priority=255)
    router.start(0.0, link_up=True)
    assert router.state is MASTER
    assert router.effects()[0] == SendAdvert(255)


@pytest.mark.parametrize(("priority", "ends"), [(128, 8.0 + DOWN), (255, 8.0)])
def test_the_startup_delay_counts_from_the_start_whenever_the_link_comes(priority: int, ends: float) -> None:
    for comes_at in (0.0, 2.0, 7.9):
        router = machine(startup_delay=8.0, priority=priority)
        router.start(0.0, link_up=comes_at == 0)
        router.recover(comes_at)
        assert (router.state, router.deadline) == (BACKUP, ends)
        router.advance(ends)
        assert router.state is MASTER


def test_a_fault_that_ends_after_the_startup_delay_is_not_delayed_again() -> None:
    router = machine(startup_delay=8.0)
    router.start(0.0, link_up=False)
    router.recover(50.0)
    assert router.deadline == 50.0 + DOWN


@pytest.mark.parametrize("priority", [128, 255])
def test_a_router_is_not_master_before_its_trackers_are_known(priority: int) -> None:
    router = machine(priority=priority)
    router.is_undecided = True
    router.start(0.0, link_up=True)
    router.advance(100.0)
    assert (router.state, router.deadline) == (BACKUP, None)
    router.is_undecided = False
    assert router.deadline is not None and router.deadline < 100, "it has waited long enough"
    router.advance(100.1)
    assert router.state is MASTER


def test_a_member_of_a_group_does_not_ask_for_mastership_before_its_trackers_are_known() -> None:
    router = machine()
    router.grouped = router.is_undecided = True
    router.start(0.0, link_up=True)
    router.advance(100.0)
    assert not router.wants_master


def test_a_killed_master_goes_on_before_its_trackers_are_known() -> None:
    router = machine(startup_delay=8.0)
    router.is_undecided = True
    router.start(10.0, link_up=True, residual=Residual(addresses=True, last_advert=7.0))
    assert router.state is MASTER


def test_start_without_link_is_fault_until_the_link_comes() -> None:
    router = machine()
    router.start(0.0, link_up=False)
    assert (router.state, router.deadline) == (FAULT, None)
    router.recover(50.0)
    assert (router.state, router.deadline) == (BACKUP, 50.0 + DOWN)


def test_a_killed_master_goes_on_at_once_without_touching_its_addresses() -> None:
    router = machine()
    router.start(10.0, link_up=True, residual=Residual(addresses=True, last_advert=7.0))
    assert router.effects() == [*BECOMING_MASTER, StateChanged(INIT, MASTER, Event.RESUME.value)]


@pytest.mark.parametrize(
    "residual",
    [
        Residual(addresses=True, last_advert=6.5),
        Residual(addresses=True, last_advert=10.1),
        Residual(addresses=True),
        Residual(addresses=False, last_advert=9.0),
    ],
    ids=["too long ago", "in the future", "was not master", "addresses gone"],
)
def test_whoever_may_have_been_replaced_begins_as_backup(residual: Residual) -> None:
    router = machine()
    router.start(10.0, link_up=True, residual=residual)
    assert router.state is BACKUP
    assert router.holds_addresses is residual.addresses
    assert ReleaseAddresses() not in router.effects()


def test_left_addresses_stay_until_another_master_is_heard() -> None:
    router = machine()
    router.start(0.0, link_up=True, residual=Residual(addresses=True))
    router.effects()
    router.on_advert(1.0, HIGHER, advert(0))
    assert router.effects() == []
    router.on_advert(1.1, HIGHER, advert(50))
    assert router.effects() == [ReleaseAddresses()]
    assert not router.holds_addresses


def test_left_addresses_are_removed_by_a_stop() -> None:
    router = machine()
    router.start(0.0, link_up=True, residual=Residual(addresses=True))
    router.effects()
    router.stop(1.0)
    assert router.effects()[0] == ReleaseAddresses()
