# SPDX-License-Identifier: Apache-2.0
"""The knobs that keepalived has and the RFC has not."""

from __future__ import annotations

import pytest
from tests.unit.vrrp.machines import DOWN, HIGHER, LOWER, SKEW, advert, backup, machine, master

from pointsman.vrrp.transitions import Announce, SendAdvert


def test_down_timer_adverts_counts_the_adverts_to_miss() -> None:
    router = backup(down_timer_adverts=2)
    assert router.deadline == 2.0 + SKEW


def test_lower_prio_no_advert_is_silent_to_a_lower_priority_but_not_to_a_goodbye() -> None:
    router = master(lower_prio_no_advert=True)
    router.on_advert(0.2, LOWER, advert(100))
    assert router.effects() == []
    router.on_advert(0.3, LOWER, advert(0))
    assert router.effects() == [SendAdvert(128)]


def test_the_answer_to_a_lower_priority_has_its_own_bursts() -> None:
    router = master(garp_lower_prio_repeat=2, garp_lower_prio_delay=0.5)
    router.on_advert(0.2, LOWER, advert(100))
    assert router.effects() == [SendAdvert(128), Announce(2)]
    assert router.deadline == pytest.approx(0.7)


def test_the_startup_delay_is_added_to_the_first_wait_only() -> None:
    router = machine(startup_delay=10.0)
    router.start(0.0, link_up=True)
    assert router.deadline == 10.0 + DOWN
    router.on_advert(1.0, HIGHER, advert(200))
    assert router.deadline == 1.0 + DOWN
