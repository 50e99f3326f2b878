# SPDX-License-Identifier: Apache-2.0
"""TableSync on the memory data plane: check results, overrides, refusals, a restart."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.counting import lines_run

from pointsman.control.client_messages import OverrideRequest
from pointsman.control.messages import CheckResult, RunProgram, TellServers
from pointsman.daemon.director.state_file import NAME, StateFile
from pointsman.daemon.director.table_sync import TableSync, unmanaged_services
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    Operation,
    Refusal,
    SetTimeouts,
)
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.tracking import Command, NotifyFifo

VIP = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 80)
WEB = [ServerKey(ipaddress.ip_address(f"192.168.100.{last}"), 80) for last in (20, 21)]
HAND = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 8000)


def check(server: ServerKey) -> TcpCheck:
    return TcpCheck(connect_address=server.address, connect_port=80)


def config(**options: object) -> Config:
    members = tuple(
        PoolMember(
            server=RealServer(key=key),
            checks=(check(key),),
        )
        for key in WEB
    )
    virtual = VirtualServer(service=VirtualService(key=VIP, scheduler="rr"), members=members, **options)  # type: ignore[arg-type]
    return Config(router_id="lb-01", virtual_servers=(virtual,))


def verdict(server: ServerKey, up: bool) -> CheckResult:
    return CheckResult(VIP, server, check(server).identity, up, "" if up else "connection refused")


def weights(plane: MemoryDataPlane, key: ServiceKey = VIP) -> dict[ServerKey, int]:
    entry = plane.read().get(key)
    assert entry is not None
    return {server.key: server.weight for server in entry.servers}


@pytest.fixture
def plane() -> MemoryDataPlane:
    return MemoryDataPlane()


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


def test_a_restarted_director_does_not_bring_a_dead_server_back(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    again = TableSync(config(), plane)
    again.sync()
    assert weights(plane) == {WEB[1]: 1}
    again.on_check_result(verdict(WEB[0], True))
    again.sync()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}


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


def by_hand(server: ServerKey, override: Override | None, **more: Any) -> OverrideRequest:
    return OverrideRequest(server=server.address, override=override, **more)


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


def test_programs_are_asked_for_in_the_order_of_what_happened(plane: MemoryDataPlane) -> None:
    down, lost = Command(("/bin/down",)), Command(("/bin/lost",))
    made = config(quorum=2, quorum_down_command=lost, secure_commands=True)
    (virtual,) = made.virtual_servers
    members = tuple(msgspec.structs.replace(member, notify_down=down) for member in virtual.members)
    virtual = msgspec.structs.replace(virtual, members=members)
    table_sync = TableSync(msgspec.structs.replace(made, virtual_servers=(virtual,)), plane)
    table_sync.sync()
    assert table_sync.notify_orders == []
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    assert table_sync.notify_orders == [
        RunProgram(down, VIP, WEB[0], secure=True),
        RunProgram(lost, VIP, secure=True),
    ]


def test_programs_and_fifos_hear_of_the_start_only_when_asked_to(plane: MemoryDataPlane) -> None:
    up, gained = Command(("/bin/up",)), Command(("/bin/gained",))
    made = config(quorum_up_command=gained, initial_notifies=True)
    (virtual,) = made.virtual_servers
    members = tuple(
        msgspec.structs.replace(member, notify_up=up, slow_start=9.0) for member in virtual.members
    )
    asked = msgspec.structs.replace(virtual, members=members)
    pipes = (NotifyFifo(word="lvs_notify_fifo", path="/run/fifo"),)
    table_sync = TableSync(msgspec.structs.replace(made, virtual_servers=(asked,), server_fifos=pipes), plane)
    table_sync.sync()
    where = "[192.168.100.9]:tcp:80"
    assert table_sync.notify_orders == [
        RunProgram(up, VIP, WEB[0]),
        TellServers(f"RS [192.168.100.20]:tcp:80 {where} UP"),
        RunProgram(up, VIP, WEB[1]),
        TellServers(f"RS [192.168.100.21]:tcp:80 {where} UP"),
        RunProgram(gained, VIP),
        TellServers(f"VS {where} UP"),
    ]
    assert set(weights(plane).values()) == {1}, "they are there from the start, not on their way back"
    silent = msgspec.structs.replace(asked, initial_notifies=False)
    other = TableSync(msgspec.structs.replace(made, virtual_servers=(silent,)), MemoryDataPlane())
    other.sync()
    assert other.notify_orders == [RunProgram(gained, VIP)]


def test_omega_says_goodbye_for_who_is_alive(plane: MemoryDataPlane) -> None:
    down, lost = Command(("/bin/down",)), Command(("/bin/lost",))
    made = config(quorum_down_command=lost, smtp_alert=True)
    (virtual,) = made.virtual_servers
    members = tuple(msgspec.structs.replace(member, notify_down=down) for member in virtual.members)
    for omega in (True, False):
        service = msgspec.structs.replace(virtual, members=members, omega=omega)
        table_sync = TableSync(msgspec.structs.replace(made, virtual_servers=(service,)), plane)
        table_sync.on_check_result(verdict(WEB[0], False))
        table_sync.sync()
        table_sync.notify_orders.clear()
        alerts = table_sync.shutdown_alerts()
        if not omega:
            assert (alerts, table_sync.notify_orders) == ([], [])
            continue
        assert [alert.subject for alert in alerts] == [
            "[lb-01] Realserver [192.168.100.21]:tcp:80 of virtual server [192.168.100.9]:tcp:80 - DOWN",
            "[lb-01] Virtualserver [192.168.100.9]:tcp:80 - DOWN",
        ]
        assert {alert.body for alert in alerts} == {"=> Shutting down <=\n"}
        assert table_sync.notify_orders == [RunProgram(down, VIP, WEB[1]), RunProgram(lost, VIP)]


def test_a_measured_weight_is_in_the_table(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.on_check_result(msgspec.structs.replace(verdict(WEB[0], True), weight_change=4))
    table_sync.sync()
    assert weights(plane) == {WEB[0]: 5, WEB[1]: 1}


def test_a_restart_between_the_thresholds_of_the_hysteresis_keeps_the_pool(plane: MemoryDataPlane) -> None:
    sorry = RealServer(key=ServerKey(ipaddress.ip_address("192.168.100.99"), 80))
    made = config(quorum=2, hysteresis=1, sorry_server=sorry)
    (virtual,) = made.virtual_servers
    heavy = tuple(
        msgspec.structs.replace(member, server=RealServer(key=member.server.key, weight=2))
        for member in virtual.members
    )
    made = msgspec.structs.replace(made, virtual_servers=(msgspec.structs.replace(virtual, members=heavy),))
    table_sync = TableSync(made, plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    assert weights(plane) == {WEB[1]: 2}
    TableSync(made, plane).sync()
    assert weights(plane) == {WEB[1]: 2}


def test_a_lost_quorum_stays_lost_over_a_restart(plane: MemoryDataPlane) -> None:
    sorry = RealServer(key=ServerKey(ipaddress.ip_address("192.168.100.99"), 80))
    made = config(quorum=1, hysteresis=1, sorry_server=sorry)
    table_sync = TableSync(made, plane)
    table_sync.sync()
    for server in WEB:
        table_sync.on_check_result(verdict(server, False))
    table_sync.sync()
    again = TableSync(made, plane)
    again.on_check_result(verdict(WEB[0], True))
    again.sync()
    assert weights(plane) == {sorry.key: 1}


def again(table_sync: TableSync, plane: MemoryDataPlane, tmp_path: Path, made: Config) -> TableSync:
    """Return the TableSync of a director that starts after a crash."""
    StateFile(tmp_path).write(table_sync.state(), {})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    return TableSync(made, plane, remembered.table)


def test_a_restart_keeps_what_was_said_by_hand(plane: MemoryDataPlane, tmp_path: Path) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    table_sync.override(by_hand(WEB[0], Override(weight=0)), now=100.0)
    table_sync.override(by_hand(WEB[1], Override(weight=7), seconds=5.0), now=100.0)
    table_sync.sync()
    after = again(table_sync, plane, tmp_path, config())
    after.sync()
    assert weights(plane) == {WEB[0]: 0, WEB[1]: 7}
    assert not after.expire_overrides(104.0) and after.expire_overrides(105.0)
    after.sync()
    assert weights(plane) == {WEB[0]: 0, WEB[1]: 1}


def test_a_stop_keeps_words_by_hand_and_failed_servers_and_announces_again(
    plane: MemoryDataPlane, tmp_path: Path
) -> None:
    made = config(smtp_alert=True, quorum=1)
    table_sync = TableSync(made, plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[1], False))
    table_sync.override(by_hand(WEB[0], Override(weight=7)), now=100.0)
    table_sync.sync()
    stopped = msgspec.structs.replace(table_sync.state(), stopped=True)
    StateFile(tmp_path).write(stopped, {})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    after = TableSync(made, plane, remembered.table)
    assert [alert.subject[-4:] for alert in after.sync()] == ["- UP"], "the quorum, as at a first start"
    assert weights(plane) == {WEB[0]: 7}
    assert after.on_check_result(verdict(WEB[1], False)) is None, "it was down before"


def test_services_of_a_stopped_director_leave_if_they_are_not_configured(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    plane.apply([AddService(VirtualService(key=HAND))])
    plane.unattended.keep(table_sync.managed, 900)
    after = TableSync(Config(router_id="lb"), plane)
    after.sync()
    assert [entry.service.key for entry in plane.read()] == [HAND]


def test_a_restart_mails_what_has_changed_meanwhile_and_nothing_else(
    plane: MemoryDataPlane, tmp_path: Path
) -> None:
    made = config(smtp_alert=True, alpha=True)
    table_sync = TableSync(made, plane)
    for server in WEB:
        table_sync.on_check_result(verdict(server, True))
    assert [alert.subject[-4:] for alert in table_sync.sync()] == ["- UP"]
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    after = again(table_sync, plane, tmp_path, made)
    assert after.sync() == []
    assert [after.on_check_result(verdict(server, server is WEB[1])) for server in WEB] == [None, None]
    assert after.sync() == []
    down = after.on_check_result(verdict(WEB[1], False))
    assert down is not None and down.subject.endswith("DOWN")
    assert [alert.subject[-4:] for alert in after.sync()] == ["DOWN"]
    assert weights(plane) == {}


def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, plane: MemoryDataPlane) -> None:
    file = StateFile(tmp_path)
    assert file.read() is None
    file.write(TableSync(config(), plane).state(), {"A": ("MASTER", 1.5)})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None and remembered.instances == {"A": ("MASTER", 1.5)}
    (tmp_path / NAME).write_bytes(b'{"boot": 7')
    assert StateFile(tmp_path).read() is None
    (tmp_path / NAME).write_bytes(b'{"boot": "another"}')
    assert StateFile(tmp_path).read() is None
    file.forget()
    assert list(tmp_path.iterdir()) == []


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


def test_many_transitions_at_once_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    made = config()
    (virtual,) = made.virtual_servers
    keys = [ServiceKey.of(Transport.TCP, ipaddress.ip_address("10.0.0.1"), port) for port in range(1, 151)]
    many = tuple(msgspec.structs.replace(virtual, service=VirtualService(key=key)) for key in keys)
    table_sync = TableSync(msgspec.structs.replace(made, virtual_servers=many), MemoryDataPlane())
    with caplog.at_level("DEBUG", "director"):
        table_sync.sync()
        for key in keys:
            table_sync.on_check_result(msgspec.structs.replace(verdict(WEB[0], False), service=key))
        table_sync.sync()
    told = [record for record in caplog.records if record.levelname in ("INFO", "WARNING")]
    assert [(record.levelname, record.getMessage()) for record in told] == [
        ("INFO", "quorum gained: 150 services"),
        ("WARNING", "removed: 150 real servers of 150 services"),
    ]
    lines = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert sum(line.startswith("Removing service [192.168.100.20]:tcp:80 from VS") for line in lines) == 150
