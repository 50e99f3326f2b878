# SPDX-License-Identifier: Apache-2.0
"""Sync groups: together or not at all."""

from __future__ import annotations

import ipaddress

import msgspec

from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.groups import SyncGroup
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import ReleaseAddresses, SendAdvert, StateChanged

BACKUP, MASTER, FAULT = VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT
OTHER = ipaddress.IPv4Address("10.9.0.3")
VIP = VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0")
FIRST = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=1, priority=128, addresses=(VIP,))
SECOND = msgspec.structs.replace(FIRST, name="VI_2", priority=64)
DOWN, SECOND_DOWN = 3.5, 3.75


def group() -> tuple[SyncGroup, VrrpMachine, VrrpMachine]:
    machines = [VrrpMachine(each, ipaddress.IPv4Address("10.9.0.2")) for each in (FIRST, SECOND)]
    made = SyncGroup("G", machines)
    for machine in machines:
        machine.start(0.0, link_up=True)
    assert made.sync(0.0) is BACKUP
    return made, machines[0], machines[1]


def both_masters() -> tuple[SyncGroup, VrrpMachine, VrrpMachine]:
    made, first, second = group()
    for now in (DOWN, SECOND_DOWN):
        first.advance(now)
        second.advance(now)
        made.sync(now)
    assert made.state is MASTER
    first.effects(), second.effects()
    return made, first, second


def test_nobody_is_master_before_all_would_be() -> None:
    made, first, second = group()
    first.advance(DOWN)
    assert made.sync(DOWN) is None
    assert (first.state, first.wants_master, first.deadline) == (BACKUP, True, None)
    second.advance(SECOND_DOWN)
    assert made.sync(SECOND_DOWN) is MASTER
    assert (first.state, second.state) == (MASTER, MASTER)


def test_a_member_that_hears_a_master_wants_no_more() -> None:
    made, first, second = group()
    first.advance(DOWN)
    first.on_advert(3.6, OTHER, build_advert(FIRST, 200))
    second.advance(SECOND_DOWN)
    made.sync(SECOND_DOWN)
    assert (first.state, second.state) == (BACKUP, BACKUP)
    first.advance(3.6 + DOWN)
    assert made.sync(3.6 + DOWN) is MASTER


def test_a_member_that_gives_way_takes_the_others_with_it_and_they_say_goodbye() -> None:
    made, first, second = both_masters()
    first.on_advert(5.0, OTHER, build_advert(FIRST, 200))
    assert made.sync(5.0) is BACKUP
    assert second.state is BACKUP
    assert second.effects()[:2] == [SendAdvert(0), ReleaseAddresses()]


def test_a_fault_of_one_is_a_fault_of_all_until_it_is_mended() -> None:
    made, first, second = both_masters()
    second.fail(5.0, "interface down")
    assert made.sync(5.0) is FAULT
    assert first.effects()[-1] == StateChanged(MASTER, FAULT, "VI_2 of sync group G: interface down")
    second.recover(6.0)
    assert made.sync(6.0) is BACKUP
    assert (first.state, second.state) == (BACKUP, BACKUP)


def test_a_dissolved_group_binds_nobody() -> None:
    made, first, _ = group()
    made.dissolve()
    first.advance(DOWN)
    assert first.state is MASTER
