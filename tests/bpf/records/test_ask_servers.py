# SPDX-License-Identifier: Apache-2.0
"""A director with empty tables asks its real servers, and has their connections."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tests.bpf.records.services import ONE, SERVERS4, TCP, empty, given, set_up
from tests.support.namespaces import Namespace
from tests.support.program_run import VIP, Director

from pointsman.cli import connections as command
from pointsman.control.client_messages import TableReply
from pointsman.daemon.sync.real_servers import ask_all, targets_of
from pointsman.model.service import ServiceKey, Transport
from pointsman.model.traffic import Counters
from pointsman.packets.record import decode
from pointsman.realserver.serve import ConnectionServer
from pointsman.sync.ask import key_of

pytestmark = pytest.mark.root

SECRET = b"0123456789abcdef"
RS1, RS2 = map(ipaddress.ip_address, SERVERS4)
COUNT = 1000


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    with Director() as started:
        set_up(started)
        yield started


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[Namespace, int, set[int]]]:
    """Yield RS1 with connections, the port of its service that tells of them, and the clients' ports."""
    with Namespace("asked") as host, ExitStack() as stack:
        host.sh(f"ip link set lo up; ip address add {VIP}/32 dev lo; ip address add {RS1}/32 dev lo")
        with host.entered():
            listener = stack.enter_context(socket.create_server((VIP, 80), backlog=COUNT))
            ports = set()
            for _ in range(COUNT):
                client = socket.create_connection((VIP, 80), source_address=("127.0.0.1", 0))
                ports.add(stack.enter_context(client).getsockname()[1])
                stack.enter_context(listener.accept()[0])
            server = stack.enter_context(closing(ConnectionServer(key_of(SECRET), [], print, 0)))
            server.start()
        yield host, server.port, ports


def questions(director: Director) -> dict[ipaddress.IPv4Address | ipaddress.IPv6Address, list[bytes]]:
    return targets_of((entry.service.key, entry.servers) for entry in director.plane.read())


def test_a_server_is_asked_for_its_services(director: Director) -> None:
    asked = [decode(target) for target in questions(director)[RS1]]
    assert (ipaddress.ip_address(VIP), 80, RS1, 80, TCP) in {
        (each.virtual, each.virtual_port, each.server, each.server_port, each.protocol) for each in asked
    }
    assert {each.protocol for each in asked} == {Transport.TCP, Transport.UDP}
    assert not any(each.fwmark for each in asked)
    assert targets_of([(ServiceKey.mark(7), ())]) == {}


def test_an_empty_table_is_filled_and_what_is_known_stays(
    director: Director, clients: tuple[Namespace, int, set[int]]
) -> None:
    host, port, ports = clients
    empty(director)
    client = ipaddress.ip_address("127.0.0.1")
    known = msgspec.structs.replace(ONE, client=client, client_port=min(ports), server=RS2)
    director.plane.exchange.take(known.encode(), ours=True)
    with host.entered():
        asked = questions(director)
        answers = ask_all(asked, key_of(SECRET), port, 20.0, director.plane.exchange.take)
    assert answers[RS1] == COUNT
    assert isinstance(answers[RS2], str)
    found = given(director)
    assert {record.client_port for record in found} == ports
    assert known in found
    assert {record.server for record in found if record != known} == {RS1}


def test_with_another_key_nothing_is_told(
    director: Director, clients: tuple[Namespace, int, set[int]]
) -> None:
    host, port, _ = clients
    taken: list[bytes] = []
    with host.entered():
        asked = {RS1: questions(director)[RS1]}
        answers = ask_all(asked, key_of(b"another secret.."), port, 20.0, taken.append)
    assert isinstance(answers[RS1], str)
    assert not taken


def test_a_silent_server_does_not_hold_up(
    director: Director, clients: tuple[Namespace, int, set[int]]
) -> None:
    host, _, _ = clients
    with host.entered(), socket.create_server((str(RS1), 0)) as silent:
        asked = {RS1: questions(director)[RS1]}
        answers = ask_all(asked, key_of(SECRET), silent.getsockname()[1], 0.2, print)
    assert answers[RS1] in ("timed out", "no answer in time")


def test_the_command(
    director: Director,
    clients: tuple[Namespace, int, set[int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    host, port, _ = clients
    empty(director)
    key_file = tmp_path / "key"
    key_file.write_bytes(SECRET)
    table = TableReply(director.plane.read(), Counters((), {}), (0, 0, 0), 0)
    monkeypatch.setattr(command, "ask_director", lambda _: table)
    monkeypatch.setattr(command, "OpenExchange", lambda *_: closing_exchange(director))
    words = ["ask", f"--key-file={key_file}", f"--port={port}", "--seconds=20"]
    with host.entered():
        done = CliRunner().invoke(command.connections, words)
    assert done.exit_code == 1  # RS2 is not there
    assert f"{RS1}: {COUNT} connections" in done.output
    assert f"{COUNT:>9} added" in done.output


def closing_exchange(director: Director) -> object:
    """Return the director's exchange with a `close` that does nothing."""

    class Exchange(msgspec.Struct):
        take: object

        def close(self) -> None:
            pass

    return Exchange(director.plane.exchange.take)
