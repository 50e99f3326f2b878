# SPDX-License-Identifier: Apache-2.0
"""The VRRP machine as master, with literal times."""

from __future__ import annotations

import ipaddress

import pytest
from tests.unit.vrrp.machines import BACKUP, DOWN, FAULT, HIGHER, INIT, LOWER, MASTER, advert, backup, master

from pointsman.vrrp.transitions import (
    AcquireAddresses,
    Announce,
    Effect,
    Event,
    ReleaseAddresses,
    SendAdvert,
    StateChanged,
)


def test_a_master_advertises_once_per_interval_and_announces_again_after_five_seconds() -> None:
    router = master()
    sent: list[tuple[float, Effect]] = []
    while router.deadline is not None and router.deadline < 20:
        now = router.deadline
        router.advance(now)
        sent += [(now, effect) for effect in router.effects()]
    assert [time for time, effect in sent if effect == SendAdvert(128)] == [float(n) for n in range(1, 20)]
    assert [time for time, effect in sent if effect == Announce(5)] == [5.0]


def test_small_delays_do_not_add_up() -> None:
    router = master()
    for _ in range(100):
        assert router.deadline is not None
        router.advance(router.deadline + 0.003)
    assert router.deadline == 101.0


def test_after_a_stall_adverts_are_not_made_up_for() -> None:
    router = master(garp_master_delay=0.0)
    router.advance(60.0)
    assert router.effects() == [SendAdvert(128)]
    assert router.deadline == 61.0


def test_announcements_are_refreshed() -> None:
    router = master(garp_master_delay=0.0, garp_master_refresh=2.0, garp_master_refresh_repeat=3)
    router.advance(2.0)
    assert Announce(3) in router.effects()
    router.advance(3.0)
    assert Announce(3) not in router.effects()
    router.advance(4.0)
    assert Announce(3) in router.effects()


@pytest.mark.parametrize(("source", "priority"), [(HIGHER, 129), (LOWER, 129), (HIGHER, 128)])
def test_a_better_master_is_given_way_with_a_farewell(source: ipaddress.IPv4Address, priority: int) -> None:
    router = master()
    router.on_advert(0.3, source, advert(priority))
    why = f"{source} has priority {priority}, here it is 128"
    if priority == 128:
        why = f"{source} has the same priority 128 and the higher address"
    assert router.effects() == [
        ReleaseAddresses(),
        SendAdvert(128),
        StateChanged(MASTER, BACKUP, f"a better router advertises: {why}"),
    ]
    assert router.deadline == 0.3 + DOWN


@pytest.mark.parametrize(("source", "priority"), [(LOWER, 128), (LOWER, 127), (HIGHER, 127)])
def test_a_worse_master_is_answered_with_advert_and_announcement(
    source: ipaddress.IPv4Address, priority: int
) -> None:
    router = master()
    router.on_advert(0.3, source, advert(priority))
    assert router.effects() == [SendAdvert(128), Announce(5)]
    assert router.state is MASTER
    router.advance(5.3)
    assert Announce(5) in router.effects()


def test_a_master_that_gives_up_is_answered_with_an_advert_at_once() -> None:
    router = master()
    router.on_advert(0.3, HIGHER, advert(0))
    assert router.effects() == [SendAdvert(128)]
    assert router.deadline == 1.3


def test_a_flood_of_foreign_adverts_makes_no_flood_of_ours() -> None:
    router = master(garp_master_delay=0.0)
    for count in range(50_000):
        now = count / 50_000
        router.on_advert(now, LOWER, advert(1))
        router.advance(now)
    assert router.effects().count(SendAdvert(128)) <= 3
    assert router.deadline is not None
    assert router.deadline <= 1.5


def test_stopping_says_priority_0_and_takes_the_addresses_away() -> None:
    router = master()
    router.stop(0.5)
    assert router.effects() == [
        SendAdvert(0),
        ReleaseAddresses(),
        StateChanged(MASTER, INIT, Event.STOP.value),
    ]
    assert router.deadline is None


def test_link_down_resigns_and_link_up_waits_again() -> None:
    router = master()
    router.fail(0.5, "interface down")
    assert router.effects() == [
        SendAdvert(0),
        ReleaseAddresses(),
        StateChanged(MASTER, FAULT, "interface down"),
    ]
    router.on_advert(0.6, LOWER, advert(1))
    router.advance(100.0)
    assert router.effects() == []
    router.recover(100.0)
    assert router.deadline == 100.0 + DOWN


def test_lost_addresses_are_put_back_by_a_master_only() -> None:
    router = master()
    router.on_addresses_lost()
    assert router.effects() == [AcquireAddresses(), Announce(5)]
    waiting = backup()
    waiting.on_addresses_lost()
    assert waiting.effects() == []


def test_the_winner_of_a_split_is_called_twice_more_in_case_the_farewell_was_lost() -> None:
    router = master()
    router.on_advert(0.5, HIGHER, advert(200))
    router.effects()
    sent = []
    for now in (0.6, 1.5, 1.6, 2.5, 3.5):
        router.on_advert(now, HIGHER, advert(200))
        sent.append(router.effects())
    assert sent == [[], [SendAdvert(1)], [], [SendAdvert(1)], []]
