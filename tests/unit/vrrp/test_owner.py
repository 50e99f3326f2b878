# SPDX-License-Identifier: Apache-2.0
"""The address owner (priority 255), limits of TTL, and the checksum with which a router begins."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from pointsman.model.vrrp import TtlLimits, VirtualAddress, VrrpInstance, VrrpState
from pointsman.vrrp.admission import Drop, admit, build_advert, choose_checksum_form
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.wire import Advert, ChecksumForm, Datagram, encode

A, B = ipaddress.IPv4Address("10.0.0.1"), ipaddress.IPv4Address("10.0.0.2")
PLAIN = VrrpInstance(
    name="A",
    interface="eth0",
    virtual_router_id=51,
    version=3,
    priority=255,
    addresses=(VirtualAddress(address=ipaddress.ip_address("10.0.0.100"), prefix_length=24, device="eth0"),),
)


def machine(instance: VrrpInstance) -> VrrpMachine:
    made = VrrpMachine(instance, A)
    made.start(0.0, link_up=True)
    assert made.state is VrrpState.MASTER, "it never waits"
    return made


def other(priority: int) -> Advert:
    return Advert(version=3, virtual_router_id=51, priority=priority, interval=100)


@pytest.mark.parametrize(("ignores", "state"), [(False, VrrpState.BACKUP), (True, VrrpState.MASTER)])
def test_of_two_owners_the_one_with_the_lower_address_gives_way_unless_it_ignores_others(
    ignores: bool, state: VrrpState
) -> None:
    owner = machine(msgspec.structs.replace(PLAIN, owner_ignores_adverts=ignores))
    owner.on_advert(1.0, B, other(255))
    assert owner.state is state


def test_no_tracker_changes_an_owner() -> None:
    owner = machine(PLAIN)
    owner.set_priority(1.0, 100)
    assert owner.priority == 255
    owner.on_advert(2.0, B, other(254))
    assert owner.state is VrrpState.MASTER


@pytest.mark.parametrize(("ttl", "drop"), [(253, Drop.TTL), (254, None), (255, None)])
def test_limits_of_a_peers_ttl(ttl: int, drop: Drop | None) -> None:
    instance = msgspec.structs.replace(
        PLAIN, priority=100, unicast_peers=(B,), ttl_limits=(TtlLimits(B, 254, 255),)
    )
    payload = encode(build_advert(instance, 100), B, A)
    datagram = Datagram(source=B, destination=A, ttl=ttl, payload=payload)
    assert admit(instance, A, datagram).drop is drop


def test_the_checksum_to_begin_with_and_the_one_that_is_answered() -> None:
    old = msgspec.structs.replace(PLAIN, unicast_peers=(B,), old_unicast_checksum=True)
    assert choose_checksum_form(old, None) is ChecksumForm.GROUP
    assert (
        choose_checksum_form(msgspec.structs.replace(old, unicast_peers=()), None)
        is ChecksumForm.PSEUDO_HEADER
    )
    for form in ChecksumForm:
        assert choose_checksum_form(old, form) is form
        payload = encode(build_advert(old, 100, form), B, A)
        verdict = admit(old, A, Datagram(source=B, destination=A, ttl=255, payload=payload))
        assert verdict.advert is not None
        assert verdict.advert.form is form
