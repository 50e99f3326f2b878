# SPDX-License-Identifier: Apache-2.0
"""What programs, FIFOs and the log hear of transitions."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from tests.unit.daemon.director.table_sync.web_service import (
    VIP,
    WEB,
    config,
    verdict,
    weights,
)

from pointsman.control.messages import RunProgram, TellServers
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.service import ServiceKey, Transport, VirtualService
from pointsman.model.tracking import Command, NotifyFifo


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
