# SPDX-License-Identifier: Apache-2.0
"""Words by hand: overrides of real servers, and operations of an administrator."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from tests.unit.daemon.director.table_sync.web_service import (
    HAND,
    VIP,
    WEB,
    by_hand,
    config,
    verdict,
    weights,
)

from pointsman.daemon.director.table_sync import TableSync, unmanaged_services
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.operations import AddServer, AddService, EditServer
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, VirtualService


def test_services_put_in_by_hand_stay_until_their_owner_takes_them(plane: MemoryDataPlane) -> None:
    plane.apply([AddService(VirtualService(key=HAND))])
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    assert unmanaged_services(plane, table_sync.managed)
    table_sync.remove_all()
    assert [entry.service.key for entry in plane.read()] == [HAND]


def test_a_weight_given_by_hand_outlives_health_events(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    assert table_sync.apply([EditServer(VIP, RealServer(key=WEB[0], weight=0))]) == []
    table_sync.on_check_result(verdict(WEB[1], False))
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 0}


def test_a_server_added_by_hand_to_a_configured_service_lasts_until_the_next_event(
    plane: MemoryDataPlane,
) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    extra = ServerKey(ipaddress.ip_address("192.168.100.22"), 80)
    table_sync.apply([AddServer(VIP, RealServer(key=extra))])
    assert extra in weights(plane)
    table_sync.sync()
    assert extra not in weights(plane)


def test_an_override_beats_check_results_until_it_expires(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[1], False))
    assert table_sync.override(by_hand(WEB[1], Override(up=True), seconds=5.0), now=100.0)
    assert table_sync.override(by_hand(WEB[0], Override(weight=0)), now=100.0)
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 0, WEB[1]: 1}
    (service,) = table_sync.describe(plane.read(), {}, 102.0)
    assert [server.by_hand for server in service.servers] == ["weight 0", "up for another 3 s"]
    assert not table_sync.expire_overrides(104.9)
    assert table_sync.expire_overrides(105.0)
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 0}
    table_sync.override(by_hand(WEB[0], None), now=106.0)
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 1}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, True),
        ({"port": 80}, True),
        ({"port": 81}, False),
        ({"service": "192.168.100.9:80"}, True),
        ({"service": "[192.168.100.9]:tcp:80"}, True),
        ({"service": "192.168.100.9:81"}, False),
    ],
)
def test_an_override_finds_its_server(plane: MemoryDataPlane, more: dict[str, Any], found: bool) -> None:
    table_sync = TableSync(config(), plane)
    names = table_sync.override(by_hand(WEB[0], Override(up=False), **more), now=0.0)
    assert names == (["[192.168.100.20]:tcp:80 of [192.168.100.9]:tcp:80"] if found else [])
    table_sync.sync()
    assert (WEB[0] in weights(plane)) is not found
