# SPDX-License-Identifier: Apache-2.0
"""The VRRP machine goes on with other settings: the state stays, the others are told at once."""

from __future__ import annotations

import ipaddress

import msgspec

from pointsman.model.routing import VirtualRoute
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import AcquireAddresses, Announce, SendAdvert

OWN, OTHER = ipaddress.ip_address("10.9.0.2"), ipaddress.ip_address("10.9.0.3")
VIP, SECOND = (
    VirtualAddress(address=ipaddress.ip_address(f"10.9.0.{last}"), prefix_length=24, device="eth0")
    for last in (100, 101)
)
INSTANCE = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51, priority=128, addresses=(VIP,))


def started(master: bool) -> VrrpMachine:
    """Return a machine at time 10: master since then, or backup that has just received an advert."""
    machine = VrrpMachine(INSTANCE, OWN)
    machine.start(0.0, link_up=True)
    if master:
        machine.advance(10.0)
    else:
        machine.on_advert(10.0, OTHER, build_advert(INSTANCE, 200))
    machine.effects()
    return machine


def test_a_master_stays_master_and_advertises_at_once_at_the_new_interval() -> None:
    machine = started(master=True)
    machine.reconfigure(
        10.5, msgspec.structs.replace(INSTANCE, advert_interval=4.0, garp_master_delay=0.0), OWN
    )
    assert machine.state is VrrpState.MASTER
    assert machine.effects() == [SendAdvert(128)]
    machine.advance(14.4)
    assert SendAdvert(128) not in machine.effects()
    machine.advance(14.5)
    assert machine.effects() == [SendAdvert(128)]


def test_a_new_address_is_taken_and_announced() -> None:
    machine = started(master=True)
    machine.reconfigure(10.5, msgspec.structs.replace(INSTANCE, addresses=(VIP, SECOND)), OWN)
    assert machine.effects() == [SendAdvert(128), AcquireAddresses(), Announce(5)]


def test_a_backup_goes_on_waiting_for_the_same_master() -> None:
    machine = started(master=False)
    before = machine.deadline
    machine.reconfigure(11.0, msgspec.structs.replace(INSTANCE, addresses=(VIP, SECOND)), OWN)
    assert machine.state is VrrpState.BACKUP
    assert machine.effects() == []
    assert machine.deadline == before


def test_a_new_priority_counts_when_the_running_wait_ends() -> None:
    machine = started(master=False)
    wait = machine.deadline
    machine.reconfigure(11.0, msgspec.structs.replace(INSTANCE, priority=250), OWN)
    machine.set_priority(11.0, 250)
    machine.effects()
    machine.on_advert(11.0, OTHER, build_advert(INSTANCE, 200))
    assert machine.deadline == wait, "the master has said nothing new"


def test_a_new_route_is_set_at_once_without_announcing_anything() -> None:
    machine = started(master=True)
    route = VirtualRoute(destination=ipaddress.ip_address("10.1.0.0"), prefix_length=16, device="eth0")
    machine.reconfigure(10.5, msgspec.structs.replace(INSTANCE, routes=(route,)), OWN)
    assert machine.effects() == [SendAdvert(128), AcquireAddresses()]
