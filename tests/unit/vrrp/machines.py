# SPDX-License-Identifier: Apache-2.0
"""VRRP machines in a known state, for the tests of what they do next."""

from __future__ import annotations

import ipaddress

import msgspec

from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import (
    AcquireAddresses,
    Announce,
    Effect,
    SendAdvert,
)
from pointsman.vrrp.wire import Advert

INIT, BACKUP, MASTER, FAULT = VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT
LOWER, OWN, HIGHER = (ipaddress.IPv4Address(f"10.9.0.{host}") for host in (1, 2, 3))
VIP = VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0")
INSTANCE = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51, priority=128, addresses=(VIP,))
SKEW = 0.5
DOWN = 3.5
"""The master-down interval of priority 128 at one advert per second."""
BECOMING_MASTER: list[Effect] = [SendAdvert(128), AcquireAddresses(), Announce(5)]


def machine(**changes: object) -> VrrpMachine:
    return VrrpMachine(msgspec.structs.replace(INSTANCE, **changes), OWN)


def advert(priority: int, interval: int = 100) -> Advert:
    return msgspec.structs.replace(build_advert(INSTANCE, priority), interval=interval)


def backup(now: float = 0.0, **changes: object) -> VrrpMachine:
    router = machine(**changes)
    router.start(now, link_up=True)
    router.effects()
    return router


def master(now: float = 0.0, **changes: object) -> VrrpMachine:
    """A master since `now`."""
    router = backup(now - 10, **changes)
    router.advance(now)
    assert router.state is MASTER
    router.effects()
    return router
