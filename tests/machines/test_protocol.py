# SPDX-License-Identifier: Apache-2.0
"""Every core that knows time keeps the promises of a Machine (model/machine.py).

The types are the larger half: mypy rejects a machine here that is none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest

from pointsman.bfd.machine import BfdMachine
from pointsman.health.schedule import CheckSchedule, Timing
from pointsman.health.urls import UrlSchedule
from pointsman.model.bfd import BfdSession
from pointsman.model.machine import Machine
from pointsman.model.vrrp import VirtualAddress, VrrpInstance
from pointsman.vrrp.machine import VrrpMachine

ADDRESS = ipaddress.ip_address("10.9.0.2")
TIMING = Timing(delay_loop=10.0, delay_before_retry=1.0, retry=1)


def vrrp() -> Machine[Any]:
    moving = VirtualAddress(address=ADDRESS, prefix_length=24, device="eth0")
    machine = VrrpMachine(
        VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51, addresses=(moving,)), ADDRESS
    )
    machine.start(0.0, link_up=True)
    return machine


def bfd() -> Machine[Any]:
    machine = BfdMachine(BfdSession(name="far", neighbour=ADDRESS), 7, lambda: 0.0)
    machine.start(0.0)
    return machine


def check() -> Machine[Any]:
    machine = CheckSchedule(TIMING)
    machine.start(0.0, 0.0)
    return machine


def urls() -> Machine[Any]:
    machine = UrlSchedule(TIMING, 2, fast_recovery=False)
    machine.start(0.0, 0.0)
    return machine


every_machine = pytest.mark.parametrize("started", [vrrp, bfd, check, urls])


@every_machine
def test_before_its_deadline_nothing_happens(started: Callable[[], Machine[Any]]) -> None:
    machine = started()
    machine.effects()
    deadline = machine.deadline
    assert deadline is not None
    machine.advance(deadline - 0.001)
    assert machine.effects() == []
    assert machine.deadline == deadline


@every_machine
def test_at_its_deadline_something_happens_and_the_deadline_moves(
    started: Callable[[], Machine[Any]],
) -> None:
    machine = started()
    machine.effects()
    deadline = machine.deadline
    assert deadline is not None
    machine.advance(deadline)
    assert machine.effects()
    assert machine.deadline is None or machine.deadline > deadline


@every_machine
def test_effects_are_taken_once(started: Callable[[], Machine[Any]]) -> None:
    machine = started()
    machine.advance(machine.deadline or 0.0)
    assert machine.effects()
    assert machine.effects() == []
