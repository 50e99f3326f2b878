# SPDX-License-Identifier: Apache-2.0
"""A real server tells a director which connections are open there."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from tests.support.namespaces import Namespace
from tests.support.until import until

from pointsman.packets.record import RECORD_SIZE, Record, decode
from pointsman.realserver import serve, sockets
from pointsman.sync import ask

pytestmark = pytest.mark.root

VIP, VIP6, SERVER = "192.168.7.133", "fd00::133", ipaddress.ip_address("192.168.88.20")
ESTABLISHED, FIN_WAIT = 2, 3
KEY = ask.key_of(b"0123456789abcdef")
COUNT = 1000


def target(virtual: str, port: int, server_port: int | None = None, protocol: int = 6) -> Record:
    """Return what a director asks about one service."""
    address = ipaddress.ip_address(virtual)
    return Record(
        client=ipaddress.ip_address("::" if address.version == 6 else "0.0.0.0"),
        virtual=address,
        virtual_port=port,
        server=SERVER,
        server_port=port if server_port is None else server_port,
        protocol=protocol,
        seconds=0,
    )


@pytest.fixture
def host() -> Iterator[Namespace]:
    with Namespace("serving") as place:
        place.sh(
            f"ip link set lo up; ip address add {VIP}/32 dev lo; ip -6 address add {VIP6}/128 dev lo nodad"
        )
        yield place


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listen(host: Namespace, opened: ExitStack, port: int, *, ipv6: bool = False) -> socket.socket:
    """Return a listener; `ipv6`: one that takes IPv4 as well."""
    with host.entered():
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        made = socket.create_server(("", port), family=family, backlog=2048, dualstack_ipv6=ipv6)
    return opened.enter_context(made)


def connect(
    host: Namespace, opened: ExitStack, listener: socket.socket, address: str, port: int
) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    with host.entered():
        source = None if ":" in address else ("127.0.0.1", 0)  # not from the VIP itself
        client = opened.enter_context(socket.create_connection((address, port), source_address=source))
    return client, opened.enter_context(listener.accept()[0])


def read(*targets: Record) -> list[Record]:
    runs = b"".join(sockets.connections([each.encode() for each in targets]))
    return [decode(runs[start : start + RECORD_SIZE]) for start in range(0, len(runs), RECORD_SIZE)]


def names(records: list[Record]) -> list[tuple[str, int]]:
    return sorted((str(record.client), record.client_port) for record in records)


def test_all_connections_of_a_service_are_found(host: Namespace, opened: ExitStack) -> None:
    listener, other = listen(host, opened, 80), listen(host, opened, 81)
    clients = [connect(host, opened, listener, VIP, 80)[0] for _ in range(COUNT)]
    connect(host, opened, other, VIP, 81)
    connect(host, opened, listener, "127.0.0.1", 80)
    with host.entered():
        found = read(target(VIP, 80, 8080))
    assert names(found) == sorted(client.getsockname()[:2] for client in clients)
    assert {(r.virtual, r.virtual_port, r.server, r.server_port, r.protocol) for r in found} == {
        (ipaddress.ip_address(VIP), 80, SERVER, 8080, 6)
    }
    assert {record.state for record in found} == {ESTABLISHED}
    assert {record.flags for record in found} == {0}


def test_ipv6_and_ipv4_on_a_listener_for_both(host: Namespace, opened: ExitStack) -> None:
    listener = listen(host, opened, 80, ipv6=True)
    four, _ = connect(host, opened, listener, VIP, 80)
    six, _ = connect(host, opened, listener, VIP6, 80)
    with host.entered():
        found = read(target(VIP, 80), target(VIP6, 80))
    assert names(found) == sorted(each.getsockname()[:2] for each in (four, six))
    for record in found:
        assert record.client.version == record.virtual.version


def test_a_service_of_all_ports(host: Namespace, opened: ExitStack) -> None:
    for port in (80, 443):
        connect(host, opened, listen(host, opened, port), VIP, port)
    with host.entered():
        found = read(target(VIP, 0))
    assert sorted((record.virtual_port, record.server_port) for record in found) == [(80, 0), (443, 0)]


def test_states_are_those_that_a_director_would_have(host: Namespace, opened: ExitStack) -> None:
    listener = listen(host, opened, 80)
    quiet, _ = connect(host, opened, listener, VIP, 80)
    ended, _ = connect(host, opened, listener, VIP, 80)
    answered, server_end = connect(host, opened, listener, VIP, 80)
    ended.shutdown(socket.SHUT_WR)
    server_end.shutdown(socket.SHUT_WR)
    with host.entered():
        found = {record.client_port: record.state for record in read(target(VIP, 80))}
    assert found == {
        quiet.getsockname()[1]: ESTABLISHED,
        ended.getsockname()[1]: FIN_WAIT,
        answered.getsockname()[1]: ESTABLISHED,
    }


def test_connected_sockets_of_udp(host: Namespace, opened: ExitStack) -> None:
    with host.entered():
        server, client = (opened.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
        server.bind((VIP, 53))
        client.bind((VIP, 0))
        server.connect(client.getsockname())
        found = read(target(VIP, 53, protocol=17))
    assert names(found) == [client.getsockname()]


def test_sockets_in_other_namespaces_of_the_host_are_found(host: Namespace, opened: ExitStack) -> None:
    client, _ = connect(host, opened, listen(host, opened, 80), VIP, 80)
    asked = [target(VIP, 80).encode()]
    with subprocess.Popen(["nsenter", f"--net=/run/netns/{host.name}", "sleep", "60"]) as inside:
        try:
            until(
                "it is inside",
                lambda: os.stat(f"/proc/{inside.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino,
            )
            records = b"".join(sockets.connections(asked, everywhere=True))
            found = [decode(records[at : at + RECORD_SIZE]) for at in range(0, len(records), RECORD_SIZE)]
            assert client.getsockname() in names(found)
            assert not list(sockets.connections(asked))
        finally:
            inside.kill()


def test_no_more_than_the_limit(host: Namespace, opened: ExitStack) -> None:
    listener = listen(host, opened, 80)
    for _ in range(5):
        connect(host, opened, listener, VIP, 80)
    with host.entered():
        runs = list(sockets.connections([target(VIP, 80).encode()], most=3))
    assert sum(map(len, runs)) == 3 * RECORD_SIZE


def test_a_director_with_the_key_is_answered(host: Namespace, opened: ExitStack) -> None:
    client, _ = connect(host, opened, listen(host, opened, 80), VIP, 80)
    wanted = [target(VIP, 80).encode()]
    told: list[str] = []
    with host.entered():
        server = serve.ConnectionServer(KEY, [], told.append, 0)
        # threads that are started here belong to this namespace
        server.start()
        with closing(server):
            records = ask_server(server.port, KEY, wanted)
            assert names([decode(records)]) == [client.getsockname()]
            with pytest.raises((ask.BadMessageError, ConnectionError)):
                ask_server(server.port, ask.key_of(b"another secret.."), wanted)
    until("it is reported", lambda: "told 127.0.0.1 of 1 connections" in told)


def test_somebody_else_is_not_even_challenged(host: Namespace) -> None:
    with host.entered():
        server = serve.ConnectionServer(KEY, [ipaddress.ip_network("192.168.88.0/24")], print, 0)
        server.start()
        with closing(server), socket.create_connection(("127.0.0.1", server.port)) as asking:
            asking.settimeout(10)
            assert asking.recv(100) == b""


def ask_server(port: int, key: bytes, targets: list[bytes]) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asking:
        challenge = ask.decode_challenge(asking.recv(ask.CHALLENGE_SIZE, socket.MSG_WAITALL))
        talk = ask.Conversation(key, challenge, b"n" * ask.NONCE_SIZE)
        asking.sendall(ask.encode_question(talk, targets))
        answer, records = ask.Answer(talk, targets), b""
        while not answer.complete:
            data = asking.recv(1 << 16)
            if not data:
                raise ConnectionResetError("closed")
            records += b"".join(answer.receive(data))
        return records


def test_an_answer_leaves_nothing_running(host: Namespace) -> None:
    before = threading.active_count()
    with host.entered():
        server = serve.ConnectionServer(KEY, [], print, 0)
        server.start()
        ask_server(server.port, KEY, [target(VIP, 80).encode()])
        server.close()
    for thread in threading.enumerate()[before:]:
        thread.join(10)
    assert threading.active_count() == before
