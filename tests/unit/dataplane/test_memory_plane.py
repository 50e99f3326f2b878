# SPDX-License-Identifier: Apache-2.0
"""The memory data plane: counters, timeouts and order, where they are more than the table."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    Flush,
    Operation,
    SetTimeouts,
    ZeroCounters,
)
from pointsman.model.service import RealServer, ServerKey, ServiceKey, VirtualService
from pointsman.model.traffic import ServerCounters, Traffic

WEB, DNS = ServiceKey.mark(1), ServiceKey.mark(2)
OLD, NEW = (ServerKey(ipaddress.ip_address(f"192.168.100.{host}"), 80) for host in (11, 12))


@pytest.fixture
def plane() -> MemoryDataPlane:
    made = MemoryDataPlane()
    operations: list[Operation] = [
        *(AddService(VirtualService(key=key)) for key in (WEB, DNS)),
        *(AddServer(WEB, RealServer(key=key)) for key in (OLD, NEW)),
        AddServer(DNS, RealServer(key=OLD)),
    ]
    assert made.apply(operations) == []
    made.record(WEB, ServerCounters(OLD, active=3, traffic=Traffic(5, 50, 500)))
    made.record(WEB, ServerCounters(NEW, inactive=1, traffic=Traffic(1, 10, 100)))
    made.record(DNS, ServerCounters(OLD, traffic=Traffic(7, 7, 7)))
    return made


def test_a_service_counts_what_its_real_servers_count(plane: MemoryDataPlane) -> None:
    assert plane.counters().of(WEB).traffic == Traffic(6, 60, 600)


def test_zeroing_spares_other_services_and_connections_that_exist(plane: MemoryDataPlane) -> None:
    assert plane.apply([ZeroCounters(WEB)]) == []
    assert plane.counters().of(WEB).traffic == Traffic()
    assert plane.counters().of(WEB).servers[0].active == 3
    assert plane.counters().of(DNS).traffic == Traffic(7, 7, 7)
    assert plane.apply([ZeroCounters()]) == []
    assert plane.counters().of(DNS).traffic == Traffic()


def test_what_is_deleted_takes_its_counters_along(plane: MemoryDataPlane) -> None:
    plane.apply([DeleteServer(WEB, OLD), AddServer(WEB, RealServer(key=OLD))])
    assert plane.counters().of(WEB).traffic == Traffic(1, 10, 100)
    plane.apply([Flush(), AddService(VirtualService(key=DNS)), AddServer(DNS, RealServer(key=OLD))])
    assert plane.counters().of(DNS).traffic == Traffic()


def test_schedulers_walk_the_newest_first(plane: MemoryDataPlane) -> None:
    assert [server.key for server in plane.list_order(WEB)] == [NEW, OLD]


def test_a_timeout_of_zero_keeps_the_present_one(plane: MemoryDataPlane) -> None:
    plane.apply([SetTimeouts(tcp=600, udp=30)])
    assert plane.timeouts() == (600, 120, 30)


def test_closing_leaves_the_table_or_takes_it_away(plane: MemoryDataPlane) -> None:
    plane.close(keep_forwarding=True)
    assert len(plane.read()) == 2
    plane.close(keep_forwarding=False)
    assert len(plane.read()) == 0


def test_only_schedulers_that_exist(plane: MemoryDataPlane) -> None:
    refusals = plane.apply([AddService(VirtualService(key=ServiceKey.mark(9), scheduler="twos"))])
    assert [refusal.reason for refusal in refusals] == ["no-scheduler"]
    assert "twos" not in plane.capabilities().schedulers
