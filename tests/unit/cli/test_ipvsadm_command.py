# SPDX-License-Identifier: Apache-2.0
"""`pointsman ipvsadm` as a program: its arguments arrive raw, its answers come over a real control socket."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.serving import served

from pointsman.cli.ipvsadm import LINES_AT_ONCE
from pointsman.cli.main import main
from pointsman.control.client_messages import (
    ApplyReply,
    ApplyRequest,
    ErrorReply,
    Reply,
    Request,
    TableReply,
    TableRequest,
)
from pointsman.control.server import ControlServer
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable, Transport, VirtualService
from pointsman.model.traffic import Connection


class Director:
    """A control socket with a memory data plane behind it."""

    def __init__(self) -> None:
        self.plane = MemoryDataPlane()
        self.asked: list[Request] = []

    async def answer(self, message: Request, _uid: int) -> Reply:
        self.asked.append(message)
        match message:
            case ApplyRequest(operations):
                return ApplyReply(tuple(self.plane.apply(operations)))
            case TableRequest():
                plane = self.plane
                return TableReply(plane.read(), plane.counters(), plane.timeouts(), 262144)
            case _:
                return ErrorReply("not here")


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "control.sock"
    monkeypatch.setattr("pointsman.cli.ipvsadm.control_socket", lambda: path)
    return path


@pytest.fixture
def director(socket_path: Path) -> Iterator[Director]:
    made = Director()
    with served(ControlServer(socket_path, made.answer)):
        yield made


def ipvsadm(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["ipvsadm", *words], input=stdin)


@pytest.mark.usefixtures("director")
def test_the_second_documents_commands() -> None:
    for line in (
        "-A -t 192.168.7.33:8000 -s rr",
        "-a -t 192.168.7.33:8000 -r 192.168.7.40:8000 -g",
        "-a -t 192.168.7.33:8000 -r 192.168.7.41:8000 -g -w 2",
    ):
        done = ipvsadm(*line.split())
        assert (done.output, done.exit_code) == ("", 0)
    shown = ipvsadm("-Ln")
    assert shown.exit_code == 0
    assert shown.stdout == (
        "IP Virtual Server version 1.2.1 (size=262144)\n"
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
        "TCP  192.168.7.33:8000 rr\n"
        "  -> 192.168.7.40:8000            Route   1      0          0         \n"
        "  -> 192.168.7.41:8000            Route   2      0          0         \n"
    )


@pytest.mark.usefixtures("director")
def test_saved_rules_come_back_through_standard_input() -> None:
    rules = "-A -t 192.168.7.33:8000 -s rr\n-a -t 192.168.7.33:8000 -r 192.168.7.40:8000 -g -w 1\n"
    assert ipvsadm("-R", stdin=rules).exit_code == 0
    assert ipvsadm("-Sn").stdout == rules
    assert ipvsadm("-C").exit_code == 0
    assert ipvsadm("-Sn").stdout == ""


@pytest.mark.usefixtures("director")
def test_errors_and_exit_codes() -> None:
    missing = ipvsadm("-d", "-t", "192.168.7.33:8000", "-r", "192.168.7.40")
    assert (missing.stdout, missing.stderr, missing.exit_code) == ("", "Service not defined\n", 255)
    wrong = ipvsadm("-A", "-t", "192.168.7.33")
    assert (wrong.stderr, wrong.exit_code) == ("Zero port specified for non-persistent service\n", 2)


@pytest.mark.usefixtures("socket_path")
def test_help_is_ipvsadms_and_needs_no_director() -> None:
    for word in ("-h", "--help"):
        shown = ipvsadm(word)
        assert shown.exit_code == 0
        assert shown.stdout.startswith("ipvsadm v1.31")
        assert "--persistent-conn                   output of persistent connection info\n" in shown.stdout


def test_without_a_director_one_message_and_255(socket_path: Path) -> None:
    answer = ipvsadm("-A", "-t", "192.168.7.33:8000", "-s", "rr")
    assert answer.exit_code == 255
    assert str(socket_path) in answer.stderr and "pointsman run" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pins"
    folder.mkdir()
    monkeypatch.setattr("pointsman.cli.ipvsadm.pin_directory", lambda: folder)
    return folder


@pytest.mark.usefixtures("socket_path", "pins")
def test_tables_left_in_force_can_be_listed_but_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    key = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.7.33"), 8000)
    table = ServiceTable.of([ServiceEntry(VirtualService(key=key, scheduler="rr"))])
    left = MemoryDataPlane(table)
    monkeypatch.setattr("pointsman.cli.ipvsadm.pinned_plane", lambda: left)
    assert ipvsadm("-Sn").stdout == "-A -t 192.168.7.33:8000 -s rr\n"
    assert left.closed and left.read() == table
    refused = ipvsadm("-C")
    assert refused.exit_code == 255 and "no director is running" in refused.stderr
    assert left.read() == table


@pytest.mark.usefixtures("socket_path")
def test_tables_that_cannot_be_read_say_why(pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied() -> MemoryDataPlane:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pointsman.cli.ipvsadm.pinned_plane", denied)
    answer = ipvsadm("-Ln")
    assert answer.exit_code == 255
    assert str(pins) in answer.stderr and "Operation not permitted" in answer.stderr


@pytest.mark.root
@pytest.mark.usefixtures("director", "pins")
def test_root_reads_connections_past_the_director(monkeypatch: pytest.MonkeyPatch) -> None:
    """The director of this fixture tells of none; there may be more than it has time to list."""
    left = MemoryDataPlane()
    address = ipaddress.ip_address("10.0.0.7")
    entry = Connection(
        transport=Transport.TCP,
        client=address,
        client_port=4711,
        virtual=address,
        virtual_port=80,
        server=address,
        server_port=80,
        state="ESTABLISHED",
        expires=60.0,
    )
    monkeypatch.setattr(left, "connections", lambda: iter([entry]))
    monkeypatch.setattr("pointsman.cli.ipvsadm.pinned_plane", lambda: left)
    assert "10.0.0.7:4711" in ipvsadm("-Lnc").stdout


def test_a_long_restore_is_few_requests_and_reads_the_table_once_for_all_edits(director: Director) -> None:
    marks = range(1, LINES_AT_ONCE + 1)
    lines = [*(f"-A -f {mark} -s rr" for mark in marks), *(f"-E -f {mark} -s wrr" for mark in marks)]
    result = ipvsadm("-R", stdin="\n".join(lines))
    assert result.exit_code == 0, result.output
    assert {entry.service.scheduler for entry in director.plane.read()} == {"wrr"}
    kinds = [type(each) for each in director.asked]
    assert kinds.count(ApplyRequest) == 3 and kinds.count(TableRequest) == 2


def test_a_listing_of_one_service_asks_for_it_alone(director: Director) -> None:
    assert ipvsadm("-R", stdin="-A -f 1 -s rr\n-A -f 2 -s wrr\n").exit_code == 0
    director.asked.clear()
    listed = ipvsadm("-Ln", "-f", "2").stdout
    assert "FWM  2 wrr" in listed and "FWM  1" not in listed
    ipvsadm("-Ln", "--rate", "-f", "2")
    wanted = ServiceKey.mark(2)
    assert director.asked == [TableRequest(service=wanted), TableRequest(service=wanted, rates=True)]
