# SPDX-License-Identifier: Apache-2.0
"""TableSync on the memory data plane: check results, refusals, differences, timeouts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from tests.unit.daemon.director.table_sync.web_service import (
    HAND,
    VIP,
    WEB,
    by_hand,
    config,
    verdict,
    weights,
)

from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.operations import (
    AddService,
    DeleteServer,
    DeleteService,
    Operation,
    Refusal,
    SetTimeouts,
)
from pointsman.model.override import Override
from pointsman.model.service import VirtualService


def test_a_start_puts_the_configured_table_in_force(plane: MemoryDataPlane) -> None:
    TableSync(config(), plane).sync()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}


def test_a_dead_server_leaves_and_comes_back_with_one_mail_each(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    assert table_sync.on_check_result(verdict(WEB[0], True)) is None
    down = table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    assert weights(plane) == {WEB[1]: 1}
    up = table_sync.on_check_result(verdict(WEB[0], True))
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}
    assert down is not None and up is not None
    assert [down.subject[-4:], up.subject[-4:]] == ["DOWN", "- UP"]
    assert "connection refused" in down.body


class Reluctant(MemoryDataPlane):
    """Refuses every operation until told otherwise."""

    reluctant = True

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        if self.reluctant:
            return [Refusal(operation, "full", "no room") for operation in operations]
        return super().apply(operations)


def test_a_refused_operation_is_done_by_the_next_sync() -> None:
    plane = Reluctant()
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    assert len(table_sync.refusals) == 3 and len(plane.read()) == 0
    plane.reluctant = False
    table_sync.sync()
    assert not table_sync.refusals
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}


def test_a_measured_weight_is_in_the_table(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.on_check_result(msgspec.structs.replace(verdict(WEB[0], True), weight_change=4))
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 5, WEB[1]: 1}


def test_a_table_changed_behind_our_back_is_told(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    table_sync.override(by_hand(WEB[0], Override(weight=0)), now=0.0)
    table_sync.sync()
    plane.apply([AddService(VirtualService(key=HAND))])
    assert table_sync.problems(table_sync.differences(plane.read())) == []
    plane.apply([DeleteServer(VIP, WEB[1])])
    (problem,) = table_sync.problems(table_sync.differences(plane.read()))
    assert problem == (
        "the table differs from the configuration: real server 192.168.100.21:80 of TCP 192.168.100.9:80 "
        "is missing; fix: pointsman reload"
    )
    plane.apply([DeleteService(VIP)])
    (problem,) = table_sync.problems(table_sync.differences(plane.read()))
    assert "service TCP 192.168.100.9:80 is missing; fix: pointsman reload" in problem


def test_what_was_refused_is_told_once() -> None:
    plane = Reluctant()
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    assert [problem.split()[0] for problem in table_sync.problems(table_sync.differences(plane.read()))] == [
        "cannot"
    ] * 3


def test_timeouts_follow_the_configuration_and_stay_when_it_says_nothing_of_them() -> None:
    plane = MemoryDataPlane()
    stated = msgspec.structs.replace(config(), timeouts=SetTimeouts(tcp=7200, udp=30))
    table_sync = TableSync(stated, plane)
    table_sync.sync()
    assert plane.timeouts() == (7200, 120, 30)
    table_sync.apply([SetTimeouts(tcp=60)])
    table_sync.sync()
    assert plane.timeouts() == (60, 120, 30), "by hand, until the configuration says something new"
    table_sync.reconfigure(msgspec.structs.replace(stated, router_id="other"))
    table_sync.sync()
    assert plane.timeouts() == (60, 120, 30)
    table_sync.reconfigure(msgspec.structs.replace(stated, timeouts=SetTimeouts(tcp=3600)))
    table_sync.sync()
    assert plane.timeouts() == (3600, 120, 300), "what is no longer configured is IPVS's default again"
    table_sync.reconfigure(config())
    table_sync.sync()
    assert plane.timeouts() == (900, 120, 300)
