# SPDX-License-Identifier: Apache-2.0
"""The work of an event grows with what it concerns, and not with the table."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
from tests.support.counting import lines_run
from tests.unit.daemon.director.table_sync.web_service import (
    VIP,
    WEB,
    check,
    config,
    verdict,
    weights,
)

from pointsman.control.messages import CheckResult
from pointsman.daemon.director.state_file import StateFile
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService


def test_the_work_of_describing_grows_with_the_real_servers_and_no_faster(plane: MemoryDataPlane) -> None:
    """Every real server against every result would be four times the work for twice as many."""

    def work(count: int) -> int:
        many = [ServerKey(ipaddress.ip_address(0x0A000000 + number), 80) for number in range(count)]
        made = config()
        (virtual,) = made.virtual_servers
        members = tuple(
            msgspec.structs.replace(virtual.members[0], server=RealServer(key=server)) for server in many
        )
        virtual = msgspec.structs.replace(virtual, members=members)
        table_sync = TableSync(msgspec.structs.replace(made, virtual_servers=(virtual,)), plane)
        table_sync.sync()
        for server in many:
            up = server is not many[0]
            table_sync.on_check_result(
                CheckResult(VIP, server, check(WEB[0]).identity, up, "" if up else "connection refused")
            )
        lines = lines_run(lambda: list(table_sync.describe(plane.read(), {}, 0.0)))
        (service,) = table_sync.describe(plane.read(), {}, 0.0)
        first, second = service.servers[:2]
        assert (first.up, first.reason, second.up) == (False, "connection refused", True)
        return lines

    assert work(400) < 2.5 * work(200)


def test_the_work_of_a_check_result_does_not_grow_with_the_number_of_services(
    plane: MemoryDataPlane, tmp_path: Path
) -> None:
    """Until the table is right and the state for a restart is written."""
    state_file = StateFile(tmp_path)

    def work(count: int) -> int:
        made = config()
        (virtual,) = made.virtual_servers
        keys = [
            ServiceKey.of(Transport.TCP, ipaddress.ip_address("10.0.0.1"), 1000 + number)
            for number in range(count)
        ]
        virtual_servers = tuple(
            msgspec.structs.replace(virtual, service=VirtualService(key=key)) for key in keys
        )
        table_sync = TableSync(msgspec.structs.replace(made, virtual_servers=virtual_servers), plane)
        table_sync.sync()
        result = CheckResult(keys[-1], WEB[0], check(WEB[0]).identity, False, "connection refused")
        alerts: list[object] = []

        def handle() -> None:
            alerts.append(table_sync.on_check_result(result))
            table_sync.sync()
            state_file.write(table_sync.state(), {})

        lines = lines_run(handle)
        assert alerts[0] is not None, "the last service was found"
        assert weights(plane, keys[-1]) == {WEB[1]: 1}
        return lines

    assert work(200) < work(20) + 50, "a collision of hashes costs a few"


def test_a_result_that_says_nothing_new_computes_no_service(plane: MemoryDataPlane) -> None:
    """The checker of a director that starts reports every check once: most of them pass, as presumed."""
    table_sync = TableSync(config(), plane, clock=lambda: 0.0)
    table_sync.sync()
    idle = lines_run(table_sync.sync)
    table_sync.on_check_result(verdict(WEB[0], True))
    assert lines_run(table_sync.sync) == idle
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    assert weights(plane) == {WEB[1]: 1}
