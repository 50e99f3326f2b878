# SPDX-License-Identifier: Apache-2.0
"""Directors that are real servers: services that are in force only with their VIP."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.lvs.standby import find_candidates, is_standby
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import (
    Forwarding,
    Front,
    RealServer,
    ServerKey,
    ServiceKey,
    Transport,
    VirtualService,
)
from pointsman.model.vrrp import VirtualAddress, VrrpInstance

VIP, OTHER, BOX, PEER = map(ipaddress.ip_address, ("10.0.0.9", "10.0.0.8", "10.0.0.10", "10.0.0.11"))
KEY = ServiceKey.of(Transport.TCP, VIP, 80)
INSTANCE = VrrpInstance(
    name="VI_1",
    interface="eth0",
    virtual_router_id=51,
    addresses=(VirtualAddress(address=VIP, prefix_length=24, device="eth0"),),
)


def service(*servers: Any, vip: Any = VIP, forwarding: Forwarding = Forwarding.ROUTE) -> VirtualServer:
    members = tuple(
        PoolMember(server=RealServer(key=ServerKey(address, 80), forwarding=forwarding))
        for address in servers
    )
    key = ServiceKey.of(Transport.TCP, vip, 80)
    return VirtualServer(service=VirtualService(key=key), members=members)


@pytest.mark.parametrize(
    ("virtual", "held", "present", "kept_out"),
    [
        (service(BOX, PEER), {"VI_1": False}, [], True),
        (service(BOX, PEER), {"VI_1": True}, [], False),
        (service(BOX, PEER), {}, [], True),  # a fresh start: until VRRP has spoken, the other may be master
        (service(BOX, PEER), {}, [KEY], False),  # the director alone was restarted: it stays as it is
        (service(BOX, PEER), {"VI_1": False}, [KEY], True),
        (service(PEER), {"VI_1": False}, [], False),  # an ordinary standby director is ready beforehand
        (service(BOX, vip=OTHER), {"VI_1": False}, [], False),  # no VRRP instance moves that VIP
        (service(BOX, forwarding=Forwarding.TUNNEL), {"VI_1": False}, [], False),
    ],
)
def test_which_services_wait_for_their_vip(
    virtual: VirtualServer, held: dict[str, bool], present: list[ServiceKey], kept_out: bool
) -> None:
    key = virtual.service.key
    candidates = find_candidates([virtual], {BOX}, [INSTANCE])
    assert (key in candidates and is_standby(candidates[key], held, key in present)) is kept_out


def test_a_mark_stands_for_the_addresses_of_its_fronts() -> None:
    marked = VirtualService(key=ServiceKey.mark(3), fronts=frozenset({Front(Transport.TCP, VIP, 80)}))
    virtual = VirtualServer(service=marked, members=service(BOX).members)
    assert find_candidates([virtual], {BOX}, [INSTANCE]) == {marked.key: {"VI_1"}}


def test_table_sync_puts_them_in_force_with_the_vip_and_out_without() -> None:
    plane = MemoryDataPlane()
    config = Config(router_id="box", virtual_servers=(service(BOX, PEER),), instances=(INSTANCE,))
    table_sync = TableSync(config, plane)
    for holds in (False, True, False):
        table_sync.set_local_addresses(frozenset({BOX}), {"VI_1": holds})
        table_sync.sync()
        assert [entry.service.key for entry in plane.read()] == ([KEY] if holds else [])
        assert table_sync.problems(table_sync.differences(plane.read())) == [], (
            "that is no difference between table and configuration"
        )
        (row,) = table_sync.describe(plane.read(), {}, 0.0)
        assert (row.standby, [item.weight for item in row.servers]) == (
            not holds,
            [1, 1] if holds else [None, None],
        )
