# SPDX-License-Identifier: Apache-2.0
"""Grace begins before a VIP comes, and ends some seconds after it has come."""

from __future__ import annotations

import ipaddress

from pointsman.lvs.grace import Grace
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.service import ServiceKey, Transport, VirtualService
from pointsman.model.vrrp import VirtualAddress, VrrpInstance

VIP, STATIC = (
    ServiceKey.of(Transport.TCP, ipaddress.ip_address(f"192.168.100.{host}"), 80) for host in (9, 10)
)
ADDRESS = VirtualAddress(address=ipaddress.IPv4Address("192.168.100.9"), prefix_length=24, device="e")
INSTANCE = VrrpInstance(name="VI", interface="e", virtual_router_id=1, addresses=(ADDRESS,))


def grace(is_fresh: bool = False, seconds: int = 5) -> Grace:
    servers = tuple(VirtualServer(service=VirtualService(key=key)) for key in (VIP, STATIC))
    config = Config(router_id="lb", grace=seconds, instances=(INSTANCE,), virtual_servers=servers)
    return Grace(config, is_fresh, 100.0)


def test_a_start_with_empty_tables_and_a_start_with_full_ones() -> None:
    assert grace(is_fresh=True).of((VIP, STATIC), 100.0) == {VIP: None, STATIC: 5}
    assert grace().of((VIP, STATIC), 100.0) == {VIP: None}


def test_a_take_over_ends_the_grace_of_a_backup_after_some_seconds() -> None:
    made = grace()
    assert made.on_held({"VI": False}, 100.0) == {VIP: None}
    assert made.on_held({"VI": True}, 3700.0) == {VIP: 5}
    assert made.on_held({"VI": True}, 3702.0) == {}, "a report about something else"
    assert made.of((VIP,), 3702.0) == {VIP: 3}, "the service is added anew"
    assert made.of((VIP,), 3705.0) == {}
    assert made.on_held({"VI": False}, 3706.0) == {VIP: None}


def test_without_grace_nothing_is_set() -> None:
    assert grace(is_fresh=True, seconds=0).on_held({"VI": True}, 100.0) == {}


def test_the_default_depends_on_the_synchronisation() -> None:
    assert Config(router_id="lb").grace_seconds == 0
    assert Config(router_id="lb", grace=7).grace_seconds == 7
