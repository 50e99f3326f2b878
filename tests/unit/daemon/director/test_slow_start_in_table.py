# SPDX-License-Identifier: Apache-2.0
"""slow_start: the weight of a real server that has come back."""

from __future__ import annotations

import logging
from ipaddress import ip_address

import msgspec
import pytest

from pointsman.control.messages import CheckResult
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.lvs.slow_start import Ramps
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.operations import EditServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

VIP = ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)
WEB = [ServerKey(ip_address(f"192.0.2.{last}"), 80) for last in (20, 21)]


def check(server: ServerKey) -> TcpCheck:
    return TcpCheck(connect_address=server.address, connect_port=80)


def config(seconds: float = 10.0, quorum: int = 1) -> Config:
    members = tuple(
        PoolMember(
            server=RealServer(key=key, weight=100),
            checks=(check(key),),
            slow_start=seconds,
        )
        for key in WEB
    )
    virtual = VirtualServer(service=VirtualService(key=VIP), members=members, quorum=quorum)
    return Config(router_id="lb-01", virtual_servers=(virtual,))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def verdict(server: ServerKey, up: bool) -> CheckResult:
    return CheckResult(VIP, server, check(server).identity, up, "")


def weights(plane: MemoryDataPlane) -> list[int]:
    (entry,) = plane.read()
    return [server.weight for server in entry.servers]


def returned(clock: Clock, **changes: float) -> tuple[TableSync, MemoryDataPlane]:
    """Return a TableSync whose second real server has just come back."""
    plane = MemoryDataPlane()
    table_sync = TableSync(config(**changes), plane, clock=clock)  # type: ignore[arg-type]
    table_sync.sync()
    assert weights(plane) == [100, 100]
    table_sync.on_check_result(verdict(WEB[1], False))
    table_sync.sync()
    assert weights(plane) == [100] and not table_sync.needs_sync
    table_sync.on_check_result(verdict(WEB[1], True))
    table_sync.sync()
    return table_sync, plane


def test_the_weight_grows_in_a_straight_line_and_arrives() -> None:
    clock = Clock()
    table_sync, plane = returned(clock)
    seen = [weights(plane)[1]]
    for _ in range(4):
        assert table_sync.needs_sync
        clock.now += 2.5
        table_sync.problems(table_sync.differences(plane.read()))
        table_sync.sync()
        seen.append(weights(plane)[1])
    assert seen == [1, 25, 50, 75, 100]
    assert not table_sync.needs_sync and not table_sync.problems(table_sync.differences(plane.read()))


def test_a_quorum_is_measured_by_full_weights() -> None:
    clock = Clock()
    table_sync, _ = returned(clock, quorum=200)
    assert not table_sync.state().quorums, "it is up, as the table shows"


def test_one_that_goes_again_begins_again() -> None:
    clock = Clock()
    table_sync, plane = returned(clock)
    clock.now += 9
    table_sync.on_check_result(verdict(WEB[1], False))
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[1], True))
    table_sync.sync()
    assert weights(plane) == [100, 1]


def test_a_weight_by_hand_counts_at_once() -> None:
    clock = Clock()
    table_sync, plane = returned(clock)
    table_sync.apply([EditServer(VIP, RealServer(key=WEB[1], weight=70))])
    table_sync.sync()
    assert weights(plane) == [100, 70]


def test_a_director_that_was_killed_goes_on_with_it() -> None:
    clock = Clock()
    table_sync, plane = returned(clock)
    clock.now += 5
    again = TableSync(config(), plane, table_sync.state(), clock=clock)
    again.sync()
    assert weights(plane) == [100, 50]


def test_a_reload_forgets_servers_that_are_no_more() -> None:
    ramps = Ramps()
    ramps.begin((VIP, WEB[0]), 0.0, 5.0)
    ramps.begin((VIP, WEB[1]), 0.0, 5.0)
    ramps.keep_only({(VIP, WEB[0])})
    assert (ramps.share((VIP, WEB[0]), 1.0), ramps.share((VIP, WEB[1]), 1.0)) == (0.2, None)
    ramps.begin((VIP, WEB[0]), 1.0, 0.0)
    assert not ramps.under_way


def test_a_dead_server_drains_for_its_time_and_is_then_removed(caplog: pytest.LogCaptureFixture) -> None:
    clock, plane = Clock(), MemoryDataPlane()
    made = config(0.0)
    members = tuple(msgspec.structs.replace(member, drain=30.0) for member in made.virtual_servers[0].members)
    virtual = msgspec.structs.replace(made.virtual_servers[0], members=members)
    made = msgspec.structs.replace(made, virtual_servers=(virtual,))
    table_sync = TableSync(made, plane, clock=clock)
    table_sync.sync()
    with caplog.at_level(logging.INFO):
        table_sync.on_check_result(verdict(WEB[1], False))
        table_sync.sync()
        assert weights(plane) == [100, 0] and table_sync.needs_sync
        clock.now += 29
        again = TableSync(made, plane, table_sync.state(), clock=clock)
        again.sync()
        assert weights(plane) == [100, 0] and not again.problems(again.differences(plane.read()))
        clock.now += 2
        again.sync()
        assert weights(plane) == [100] and not again.needs_sync
        table_sync.on_check_result(verdict(WEB[1], True))
        table_sync.sync()
        assert weights(plane) == [100, 100] and not table_sync.needs_sync
    words = [record.message.split()[0] for record in caplog.records]
    assert words == ["Disabling", "Removing", "Enabling"]


def test_without_the_word_the_whole_weight_is_there_at_once() -> None:
    clock = Clock()
    _, plane = returned(clock, seconds=0.0)
    assert weights(plane) == [100, 100]
    assert msgspec.structs.asdict(config(0.0).virtual_servers[0].members[0])["slow_start"] == 0.0
