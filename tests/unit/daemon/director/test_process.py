# SPDX-License-Identifier: Apache-2.0
"""The director without its processes: what it mails about VRRP, what it answers, what its log says."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from pointsman.conf.load import load_text
from pointsman.control.client import joined
from pointsman.control.client_messages import (
    ApplyRequest,
    ErrorReply,
    ReloadRequest,
    Reply,
    StatusReply,
    StatusRequest,
    TableReply,
    TableRequest,
    decode_reply,
    encode,
)
from pointsman.control.codec import encode_config
from pointsman.control.messages import AdvertsDropped, InstanceChanged
from pointsman.control.status import DroppedStatus, Status
from pointsman.daemon.director import process as module
from pointsman.daemon.director import table_reply
from pointsman.daemon.director.process import Director
from pointsman.daemon.director.status import instance as instance_status
from pointsman.daemon.runtime.channels import Channels
from pointsman.daemon.runtime.config_history import ConfigHistory
from pointsman.daemon.runtime.slices import SLICE
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.health.alerts import Alert
from pointsman.model.config import Config, Mail
from pointsman.model.operations import AddServer, AddService
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.traffic import ServerCounters, ServiceCounters, Unanswered

TEXT = """
vrrp_instance A {
    interface eth0
    virtual_router_id 5
    priority 100
    smtp_alert
    virtual_ipaddress {
        10.0.0.1/24
    }
}
"""


class Mails:
    """Takes them in place of a queue."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.trouble: list[str] = []

    def reconfigure(self, wanted: Mail) -> None:
        pass

    def problems(self) -> list[str]:
        return self.trouble

    def put(self, alert: Alert) -> None:
        self.subjects.append(alert.subject.rpartition(" - ")[2])


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "run_directory", lambda: tmp_path)
    return tmp_path


def started(plane: MemoryDataPlane | None = None) -> tuple[Any, Mails]:
    """A director that has begun, as after a crash of the one before if there was one."""
    made: Any = Director(
        ConfigHistory(load_text(TEXT).config),
        plane or MemoryDataPlane(),
        False,
        lambda config: [instance.interface for instance in config.instances],
        {"file": "", "config_id": None},
    )
    made._mail = mails = Mails()
    return made, mails


def status_of(director: Any) -> Status:
    """The status as a client gets it."""
    pages = asyncio.run(director._status(StatusRequest(connections=True)))
    reply = joined(map(decode_reply, pages))
    assert isinstance(reply, StatusReply)
    return reply.status


def entered(state: str) -> InstanceChanged:
    return InstanceChanged(
        instance="A", state=state, priority=100, reason="", holds_addresses=state == "MASTER"
    )


@pytest.mark.parametrize(("kind", "protocol"), [("PASS", 112), ("AH", 51)])
def test_the_status_of_an_instance_tells_the_ip_protocol_of_its_adverts(kind: str, protocol: int) -> None:
    text = TEXT.replace("priority 100", f"priority 100\nauthentication {{\nauth_type {kind}\nauth_pass x\n}}")
    config = load_text(text).config
    assert instance_status(config, entered("BACKUP"), 0.0).protocol == protocol


def test_a_restart_mails_a_state_only_when_it_is_another() -> None:
    director, mails = started()
    director._on_instance_changed(entered("BACKUP"))
    assert mails.subjects == ["Entering BACKUP state"]
    director, mails = started()
    director._on_instance_changed(entered("BACKUP"))
    assert mails.subjects == []
    director, mails = started()
    director._on_instance_changed(entered("MASTER"))
    assert mails.subjects == ["Entering MASTER state"]


def test_an_instance_that_a_reload_removes_mails_that_it_is_deleted() -> None:
    director, mails = started()
    director._on_instance_changed(entered("BACKUP"))
    empty = encode_config(Config(router_id="lb-01"))
    assert not isinstance(director._reload(ReloadRequest(empty, force=True)), ErrorReply)
    for _ in range(2):
        director._on_instance_changed(entered("INIT"))
    assert mails.subjects == ["Entering BACKUP state", "Deleted"]
    assert status_of(director).instances == ()


def test_a_rollback_with_nothing_to_go_back_to_is_no_refused_reload() -> None:
    director, _ = started()
    assert isinstance(director._reload(ReloadRequest(None)), ErrorReply)
    assert status_of(director).problems == ()
    director._mail.trouble = ["mail: no answer"]
    assert status_of(director).problems == ("mail: no answer",)


def test_a_state_that_is_reported_again_is_as_old_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    director, _ = started()
    director._on_instance_changed(entered("MASTER"))
    clock[0] = 160.0
    director._on_instance_changed(entered("MASTER"))
    (instance,) = status_of(director).instances
    assert instance.seconds == 60.0
    director, _ = started()
    director._on_instance_changed(entered("MASTER"))
    (instance,) = status_of(director).instances
    assert instance.seconds == 60.0


def test_dropped_adverts_are_in_the_status_for_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    director, _ = started()
    director._on_instance_changed(entered("MASTER"))
    for count in (1, 5):
        report = AdvertsDropped("A", "10.0.0.3", "version", "VRRP version 3, expecting 2", count)
        director._vrrp_states.on_adverts_dropped(report, clock[0])
    clock[0] += 20.0
    (instance,) = status_of(director).instances
    assert instance.dropped == (DroppedStatus("10.0.0.3", "version", "VRRP version 3, expecting 2", 5, 20.0),)
    clock[0] += 600.0
    assert status_of(director).instances[0].dropped == ()


def test_the_log_says_what_was_done_by_hand_and_what_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    director, _ = started()
    add = AddService(VirtualService(key=ServiceKey.of(Transport.TCP, ip_address("10.0.0.1"), 80)))
    caplog.set_level("INFO")
    for _ in range(2):
        asyncio.run(director._answer(ApplyRequest((add,)), 0))
    assert caplog.messages[-2:] == [
        "by hand: add service TCP 10.0.0.1:80 wlc",
        "refused by hand (uid 0): add service TCP 10.0.0.1:80 wlc: exists",
    ]


def test_more_connections_than_there_is_time_to_list_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = MemoryDataPlane()
    director, _ = started(plane)
    monkeypatch.setattr(plane, "connections", lambda: itertools.repeat(None))
    reply = asyncio.run(director._answer(TableRequest(connections=True), 65534))
    assert isinstance(reply, ErrorReply) and "pointsman ipvsadm -Lc" in reply.error


@pytest.mark.parametrize("request_", [StatusRequest(), TableRequest(connections=True)])
def test_a_reply_about_many_services_leaves_the_event_loop_to_others(
    request_: StatusRequest | TableRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 6,000 services one held it for a second: no heartbeat, and the supervisor killed the director."""
    keys = [ServiceKey.of(Transport.TCP, ip_address("10.0.0.1"), port) for port in range(1, 101)]
    plane = MemoryDataPlane()
    plane.apply([AddService(VirtualService(key=key)) for key in keys])
    director, _ = started(plane)
    clock = itertools.count(100.0, SLICE)  # each look at it is the time of a slice
    monkeypatch.setattr("pointsman.daemon.runtime.slices.time.monotonic", lambda: next(clock))
    turns = 0

    async def run() -> Reply:
        nonlocal turns
        asking = asyncio.create_task(director._answer(request_, 65534))
        while not asking.done():
            turns += 1
            await asyncio.sleep(0)
        answer = await asking
        pages = answer if isinstance(answer, tuple) else (encode(answer),)
        return joined(map(decode_reply, pages))

    reply = asyncio.run(run())
    assert turns > len(keys)
    match reply:
        case StatusReply(status):
            assert [each.service for each in status.services] == [str(key) for key in keys]
        case TableReply(table):
            assert [each.service.key for each in table] == keys
        case _:
            raise AssertionError(reply)


def test_connections_are_in_the_status_if_asked_for() -> None:
    plane = MemoryDataPlane()
    server = ServerKey(ip_address("192.0.2.20"), 80)
    keys = [ServiceKey.of(Transport.TCP, ip_address(text), 80) for text in ("192.0.2.9", "2001:db8::9")]
    for key in keys:
        added = AddService(VirtualService(key=key)), AddServer(key, RealServer(key=server))
        assert not plane.apply(added)
        plane.record(key, ServerCounters(server, active=3, inactive=1))
    director, _ = started(plane)
    status = status_of(director)
    assert [(each.active, each.inactive) for service in status.services for each in service.servers] == [
        (3, 1),
        (3, 1),
    ]
    assert status.data_plane.connections == 4, "IPv6 has a table of its own"
    (page,) = asyncio.run(director._status(StatusRequest(services=False)))
    reply = decode_reply(page)
    assert isinstance(reply, StatusReply)
    assert not reply.status.services and reply.status.data_plane.connections is None


def test_a_real_server_that_answers_no_client_is_a_problem() -> None:
    plane = MemoryDataPlane()
    key = ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)
    server = ServerKey(ip_address("192.0.2.20"), 80)
    plane.left_unanswered[key, server] = Unanswered(4, 0, 1)
    director, _ = started(plane)
    (problem,) = status_of(director).problems
    assert "192.0.2.20:80 of TCP 192.0.2.9:80: 4 connections of clients, and it answered none" in problem


class ClosingPlane(MemoryDataPlane):
    """Notes reads of counters after its maps are closed."""

    reads, late_reads = 0, 0

    def changed_counters(self) -> Iterator[Sequence[ServiceCounters]]:
        self.reads += 1
        self.late_reads += self.closed
        return super().changed_counters()


def test_a_stop_ends_the_estimator_before_the_maps_are_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "control_socket", lambda: tmp_path / "control")
    monkeypatch.setattr(table_reply, "PERIOD", 0.0)
    plane = ClosingPlane()
    director, _ = started(plane)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(6)]

    async def run() -> int:
        running = asyncio.create_task(director.run(Channels(*(pair[0] for pair in pairs[:5])), pairs[5][0]))
        while not plane.reads:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        code: int = await running
        await asyncio.sleep(0.01)
        return code

    assert asyncio.run(run()) == 0
    assert plane.closed and not plane.late_reads
    for pair in pairs:
        for end in pair:
            end.close()
