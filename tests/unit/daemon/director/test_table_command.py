# SPDX-License-Identifier: Apache-2.0
"""Commands of an administrator that change the table: long ones leave the event loop to others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from pointsman.control.client_messages import ApplyReply, ApplyRequest
from pointsman.daemon.director.table_command import AT_ONCE, SERVICES_AT_ONCE, carry_out
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.config import Config
from pointsman.model.operations import AddServer, AddService, DeleteServer, Flush, Operation, Refusal
from pointsman.model.service import RealServer, ServerKey, ServiceKey, ServiceTable, Transport, VirtualService

MARK = ServiceKey.mark(7)


class CountingPlane(MemoryDataPlane):
    """Notes how many operations each change of the table has."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[int] = []

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        self.changes.append(len(operations))
        return super().apply(operations)


@pytest.fixture(autouse=True)
def every_look_at_the_clock_ends_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1_000_000))
    monkeypatch.setattr("pointsman.daemon.runtime.slices.time.monotonic", lambda: float(next(times)))


def server(number: int) -> RealServer:
    return RealServer(key=ServerKey(ip_address("10.0.0.1"), number))


def service(port: int) -> AddService:
    return AddService(VirtualService(key=ServiceKey.of(Transport.TCP, ip_address("10.0.0.1"), port)))


def command(plane: MemoryDataPlane, *operations: Operation) -> tuple[ApplyReply, int, list[ServiceTable]]:
    """Return the reply, how many turns others had meanwhile, and the tables that were followed."""
    followed: list[ServiceTable] = []

    def follow() -> None:
        followed.append(plane.read())

    async def run() -> tuple[ApplyReply, int]:
        sync = TableSync(Config(router_id="lb"), plane)
        turns, doing = (
            0,
            asyncio.create_task(carry_out(ApplyRequest(operations), 0, sync, plane, follow)),
        )
        while not doing.done():
            turns += 1
            await asyncio.sleep(0)
        return await doing, turns

    reply, turns = asyncio.run(run())
    return reply, turns, followed


def test_many_operations_are_few_changes_and_others_have_turns_between_them() -> None:
    plane = CountingPlane()
    add = AddService(VirtualService(key=MARK))
    reply, turns, followed = command(plane, add, *(AddServer(MARK, server(each)) for each in range(1, 1001)))
    assert reply == ApplyReply(())
    assert plane.changes == [AT_ONCE] * 4 + [1]
    assert turns > 4
    assert [len(entry.servers) for table in followed for entry in table] == [249, 499, 749, 999, 1000]


def test_a_refused_operation_in_the_middle_prevents_no_other(caplog: pytest.LogCaptureFixture) -> None:
    plane = CountingPlane()
    caplog.set_level("INFO")
    bad = DeleteServer(MARK, server(9).key)
    add = AddServer(MARK, server(1))
    reply, _, _ = command(plane, AddService(VirtualService(key=MARK)), bad, add, AddServer(MARK, server(1)))
    assert [(each.operation, each.reason) for each in reply.refusals] == [
        (bad, "no-server"),
        (add, "server-exists"),
    ]
    assert [each.key for entry in plane.read() for each in entry.servers] == [server(1).key]
    assert [text.partition(" weight")[0] for text in caplog.messages] == [
        "by hand: add service FWM 7 wlc",
        "by hand: add server 10.0.0.1:1",
        "refused by hand (uid 0): delete server 10.0.0.1:9 from FWM 7: no-server",
        "refused by hand (uid 0): add server 10.0.0.1:1",
    ]


def test_a_flush_of_many_services_is_made_in_steps_and_deletes_only_what_came_before() -> None:
    plane = CountingPlane()
    present = [service(port) for port in range(1, 101)]
    reply, turns, _ = command(plane, *present, Flush(), service(1))
    assert reply == ApplyReply(())
    assert plane.changes == [100, *[SERVICES_AT_ONCE] * 4, 2]
    assert turns > 5
    assert [entry.service.key.port for entry in plane.read()] == [1]
