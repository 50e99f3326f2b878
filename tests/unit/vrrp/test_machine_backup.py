# SPDX-License-Identifier: Apache-2.0
"""The VRRP machine as backup, with literal times."""

from __future__ import annotations

import pytest
from tests.unit.vrrp.machines import BACKUP, DOWN, FAULT, HIGHER, LOWER, MASTER, SKEW, advert, backup

from pointsman.vrrp.transitions import StateChanged


def test_every_advert_of_a_master_restarts_the_wait() -> None:
    router = backup()
    for second in range(1, 100):
        router.on_advert(float(second), HIGHER, advert(200))
        router.advance(float(second))
    assert router.state is BACKUP
    assert router.deadline == 99.0 + DOWN


@pytest.mark.parametrize(("priority", "skew"), [(1, 255 / 256), (100, 156 / 256), (254, 2 / 256)])
def test_the_skew_lets_the_best_backup_be_first(priority: int, skew: float) -> None:
    router = backup(priority=priority)
    assert router.deadline == 3 + skew


def test_a_master_that_gives_up_is_followed_after_the_skew() -> None:
    router = backup()
    router.on_advert(1.0, HIGHER, advert(200))
    router.on_advert(1.5, HIGHER, advert(0))
    assert router.deadline == 1.5 + SKEW


def test_a_lower_master_is_replaced_when_the_running_wait_ends() -> None:
    router = backup()
    for second in (1.0, 2.0, 3.0):
        router.on_advert(second, LOWER, advert(100))
    assert router.deadline == DOWN
    router.advance(DOWN)
    assert router.state is MASTER


def test_a_backup_never_replaces_an_equal_master() -> None:
    router = backup()
    for second in range(1, 20):
        router.on_advert(float(second), LOWER, advert(128))
        router.advance(float(second))
    assert router.state is BACKUP


def test_nopreempt_leaves_a_lower_master_alone_until_it_is_silent() -> None:
    router = backup(nopreempt=True)
    for second in range(1, 20):
        router.on_advert(float(second), LOWER, advert(1))
        router.advance(float(second))
    assert router.state is BACKUP
    router.advance(19.0 + DOWN)
    assert router.state is MASTER


def test_preempt_delay_counts_from_the_first_lower_advert() -> None:
    router = backup(preempt_delay=10.0)
    for second in range(1, 11):
        router.on_advert(float(second), LOWER, advert(100))
    assert router.deadline == 10.0 + DOWN
    router.on_advert(11.0, LOWER, advert(100))
    router.on_advert(12.0, LOWER, advert(100))
    assert router.deadline == 10.0 + DOWN


def test_preempt_delay_begins_anew_after_a_higher_advert() -> None:
    router = backup(preempt_delay=2.0)
    router.on_advert(1.0, LOWER, advert(100))
    router.on_advert(2.0, HIGHER, advert(200))
    router.on_advert(4.0, LOWER, advert(100))
    assert router.deadline == 4.0 + DOWN


def test_version_3_learns_the_interval_of_its_master_and_forgets_it_as_master() -> None:
    router = backup(version=3, advert_interval=1.0)
    router.on_advert(0.5, HIGHER, advert(200, interval=10))
    assert router.deadline == pytest.approx(0.5 + 0.3 + 0.05)
    router.advance(1.0)
    assert router.state is MASTER
    assert router.deadline == 2.0


def test_link_down_in_backup_is_silent() -> None:
    router = backup()
    router.fail(1.0, "interface down")
    assert router.effects() == [StateChanged(BACKUP, FAULT, "interface down")]
    assert router.deadline is None


def test_a_router_whose_own_priority_has_risen_waits_for_the_rest_of_its_interval() -> None:
    """Otherwise a script that fails every other second moves the addresses every second."""
    router = backup(priority=150)
    wait = 3 + (256 - 90) / 256
    for second in range(1, 40):
        router.set_priority(float(second), 90 if second % 2 else 150)
        router.on_advert(second + 0.1, LOWER, advert(100))
        router.advance(second + 0.9)
    assert router.state is BACKUP
    assert router.deadline == pytest.approx(39.1 + wait)


def test_a_better_router_takes_over_when_its_wait_ends() -> None:
    router = backup(priority=90)
    router.on_advert(1.0, LOWER, advert(100))
    router.set_priority(1.5, 150)
    router.on_advert(2.0, LOWER, advert(100))
    assert router.deadline == pytest.approx(1.0 + 3 + (256 - 90) / 256)
