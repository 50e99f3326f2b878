# SPDX-License-Identifier: Apache-2.0
"""SMTP_CHECK, DNS_CHECK, UDP_CHECK, PING_CHECK against servers of their kinds, as user nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.lab.checker_process import QUICK, CheckerProcess, verdicts, virtual_server
from tests.support.namespaces import Namespace

from pointsman.model.checks import DnsCheck, NetworkCheck, PingCheck, SmtpCheck, TcpCheck, UdpCheck

HOST = "127.0.0.1"
SMTPD = Path("/usr/sbin/smtpd")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs root for a process of another user, and for namespaces"
    ),
]


def quick(kind: type[NetworkCheck], port: int, **changes: Any) -> Any:
    return kind(
        connect_address=ip_address(HOST),
        connect_port=port,
        **{**QUICK, "retry": 0, "connect_timeout": 1.0, **changes},
    )


class UdpServer:
    """Answers every datagram by a function; None: not at all."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, client = self._socket.recvfrom(65536)
                answer = self._answer(data)
                if answer is not None:
                    self._socket.sendto(answer, client)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def udp() -> Iterator[Callable[[Callable[[bytes], bytes | None]], int]]:
    servers: list[UdpServer] = []

    def serve(answer: Callable[[bytes], bytes | None]) -> int:
        servers.append(UdpServer(answer))
        return servers[-1].port

    yield serve
    for server in servers:
        server.close()


def _closed_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def test_udp(udp: Callable[[Callable[[bytes], bytes | None]], int]) -> None:
    echo, mute = udp(lambda data: data), udp(lambda _: None)
    closed = _closed_port(socket.SOCK_DGRAM)
    reply = {"payload": b"\x01\x02", "require_reply": True}
    assert verdicts(
        quick(UdpCheck, echo),
        quick(UdpCheck, mute),
        quick(UdpCheck, closed),
        quick(UdpCheck, echo, **reply),
        quick(UdpCheck, mute, **reply),
        quick(UdpCheck, echo, **reply, reply=b"\x01\xf2", reply_mask=b"\xff\x0f"),
        quick(UdpCheck, echo, **reply, reply=b"\x01\xf2", reply_mask=b"\xff\xf0"),
        quick(UdpCheck, echo, **reply, min_reply_length=3),
    ) == [
        (True, f"reply of 16 bytes by {HOST}:{echo}"),
        (True, f"not refused by {HOST}:{mute}"),
        (False, f"connection refused by {HOST}:{closed}"),
        (True, f"reply of 2 bytes by {HOST}:{echo}"),
        (False, f"no reply to {HOST} within 1.0 s from {HOST}:{mute}"),
        (True, f"reply of 2 bytes by {HOST}:{echo}"),
        (False, f"byte 1 of the reply is 02 instead of fx from {HOST}:{echo}"),
        (False, f"a reply of 2 bytes instead of 3 to 255 from {HOST}:{echo}"),
    ]


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
def test_dns_with_dnsmasq(tmp_path: Path) -> None:
    port = _closed_port(socket.SOCK_DGRAM)
    command = f"dnsmasq -k -p {port} -a {HOST} -z -R -h -C /dev/null --host-record=web.test,192.0.2.1 -x"
    server = subprocess.Popen([*command.split(), tmp_path / "pid"], stderr=subprocess.DEVNULL)
    try:
        _until_udp_answers(port)
        found = verdicts(
            quick(DnsCheck, port, name="web.test", record="A", connect_timeout=2.0),
            quick(DnsCheck, port, name="other.example", record="A", connect_timeout=2.0),
        )
    finally:
        server.kill()
        server.wait()
    assert found[0] == (True, f"answer for A of web.test from {HOST}:{port}")
    assert found[1] == (False, f"REFUSED for A of other.example from {HOST}:{port}")


def _until_udp_answers(port: int) -> None:
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x04test\x00\x00\x01\x00\x01"
    end = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        while time.monotonic() < end:
            probe.sendto(query, (HOST, port))
            with contextlib.suppress(OSError):
                probe.recv(512)
                return
            time.sleep(0.02)
    raise AssertionError("the name server does not answer")


def test_dns_answers_that_are_none(udp: Callable[[Callable[[bytes], bytes | None]], int]) -> None:
    def other(data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:2] + b"\x81\x80" + data[4:]

    garbage, question, foreign = udp(lambda _: b"\xff" * 40), udp(lambda data: data), udp(other)
    failing = udp(lambda data: data[:2] + b"\x81\x82" + data[4:])
    good = udp(lambda data: data[:2] + b"\x81\x80" + data[4:])
    assert verdicts(*(quick(DnsCheck, port) for port in (garbage, question, foreign, failing, good))) == [
        (False, f"no answer to {HOST} within 1.0 s from {HOST}:{garbage}"),
        (False, f"no answer to {HOST} within 1.0 s from {HOST}:{question}"),
        (False, f"no answer to {HOST} within 1.0 s from {HOST}:{foreign}"),
        (False, f"SERVFAIL for SOA of . from {HOST}:{failing}"),
        (True, f"answer for SOA of . from {HOST}:{good}"),
    ]


class MailServer:
    """Greets and answers each line of a client as told; an answer of None closes."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = answers
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for number, answer in enumerate(self._answers):
                if number:
                    connection.recv(1000)
                if answer is None:
                    return
                connection.sendall(answer)
            connection.recv(1000)
            connection.recv(1000)

    def close(self) -> None:
        self._listener.close()


def test_smtp_with_aiosmtpd() -> None:
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    controller = Controller(
        Sink(), hostname=HOST, port=_closed_port(socket.SOCK_STREAM), loop=asyncio.new_event_loop()
    )
    controller.start()
    try:
        ((up, reason),) = verdicts(quick(SmtpCheck, controller.port, connect_timeout=3.0))
    finally:
        controller.stop()
    assert up
    assert reason.startswith("greeting '220 ")
    assert reason.endswith(f"from {HOST}:{controller.port}")


@contextlib.contextmanager
def opensmtpd(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Debian's opensmtpd with a spool and a run directory that nobody else sees."""
    file = directory / "smtpd.conf"
    file.write_text(f"listen on {HOST} port {port} hostname mail.test\nmatch from any for any reject\n")
    alone = f"mount -t tmpfs none /run && mount -t tmpfs none /var/spool && exec {SMTPD} -d -f {file}"
    server = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", alone], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.skipif(not SMTPD.exists(), reason="opensmtpd is not installed (perhaps another mail server is)")
def test_smtp_with_opensmtpd_that_is_killed_frozen_and_started_again(tmp_path: Path) -> None:
    port = _closed_port(socket.SOCK_STREAM)
    patient = quick(SmtpCheck, port, connect_timeout=2.0)
    with CheckerProcess([virtual_server(patient)], nobody=True) as checker:
        assert checker.verdict().reason == f"connection refused by {HOST}:{port}"
        with opensmtpd(tmp_path, port) as server:
            up = checker.verdict(20.0)
            assert up.reason == f"greeting '220 mail.test ESMTP OpenSMTPD' from {HOST}:{port}"
            assert up.up
            os.killpg(server.pid, signal.SIGSTOP)
            assert checker.verdict(20.0).reason == f"no greeting within 2.0 s from {HOST}:{port}"
            os.killpg(server.pid, signal.SIGCONT)
            assert checker.verdict(20.0).up
        assert checker.verdict(20.0).reason == f"connection refused by {HOST}:{port}"
        assert checker.stop()[0] == 0


def test_smtp_servers_that_misbehave() -> None:
    servers = [
        MailServer(b"220-one\r\n220 two\r\n", b"250 hi\r\n", b"221 bye\r\n"),
        MailServer(b"554 go away\r\n"),
        MailServer(b"220 x\r\n", b"502 no\r\n"),
        MailServer(None),
        MailServer(),
        MailServer(b"220-" + b"x" * 100_000 + b"\r\n"),
        MailServer(b"220-more\r\n" * 1000),
    ]
    found = verdicts(*(quick(SmtpCheck, server.port) for server in servers))
    for server in servers:
        server.close()
    where = [f"from {HOST}:{server.port}" for server in servers]
    assert found[:3] == [
        (True, f"greeting '220 two' {where[0]}"),
        (False, f"greeting '554 go away' instead of 220 {where[1]}"),
        (False, f"answer to HELO '502 no' instead of 250 {where[2]}"),
    ]
    assert found[3] == (False, f"connection closed by {HOST}:{servers[3].port} before its greeting")
    assert found[4] == (False, f"no greeting within 1.0 s {where[4]}")
    assert found[5] == (False, f"a line of more than 64 KiB as greeting {where[5]}")
    assert found[6] == (False, f"more than 64 lines as greeting {where[6]}")


def test_smtp_servers_that_are_unusual() -> None:
    """Codes without a text, and texts in Latin-1."""
    servers = [
        MailServer(b"220\r\n", b"250\r\n", b"221\r\n"),
        MailServer(b"220 b\xfccher\r\n", b"250 \xfc\r\n", b"221 x\r\n"),
    ]
    found = verdicts(*(quick(SmtpCheck, server.port) for server in servers))
    for server in servers:
        server.close()
    assert [up for up, _ in found] == [True, True], found


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with 192.0.2.1 on a cable, and a route to nobody at 192.0.2.99."""
    with Namespace("health") as made:
        for command in (
            "ip link add eth0 type veth peer name eth1",
            "ip addr add 192.0.2.1/24 dev eth0",
            "ip link set eth0 up",
            "ip link set eth1 up",
        ):
            made.run(command)
        yield made.name


@pytest.mark.parametrize("allowed", ["1 0", "0 2147483647"])
def test_ping_by_a_raw_and_by_a_ping_socket(namespace: str, allowed: str) -> None:
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", "sysctl", "-qw", f"net.ipv4.ping_group_range={allowed}"],
        check=True,
    )
    dead = quick(PingCheck, 0, connect_timeout=0.5)
    six = msgspec.structs.replace(dead, connect_address=ip_address("::1"))
    assert verdicts(
        quick(PingCheck, 0),
        six,
        msgspec.structs.replace(dead, connect_address=ip_address("192.0.2.99")),
        namespace=namespace,
    ) == [
        (True, f"echo from {HOST}"),
        (True, "echo from ::1"),
        (False, "no echo to 192.0.2.1 within 0.5 s from 192.0.2.99"),
    ]


def test_mark_and_interface_of_a_probe_decide_its_route(namespace: str) -> None:
    """A rule prohibits marked packets, and eth1 has no way to the address of eth0."""
    enter = ["nsenter", f"--net=/run/netns/{namespace}"]
    subprocess.run([*enter, "ip", "rule", "add", "fwmark", "7", "prohibit", "pref", "1"], check=True)
    here = msgspec.structs.replace(quick(TcpCheck, 8080), connect_address=ip_address("192.0.2.1"))
    there = msgspec.structs.replace(here, connect_address=ip_address("192.0.2.99"))
    marked = msgspec.structs.replace(there, fwmark=7)
    plain, elsewhere, unmarked = verdicts(
        here, msgspec.structs.replace(here, bind_interface="eth1"), there, namespace=namespace
    )
    assert plain == (False, "connection refused by 192.0.2.1:8080")
    assert elsewhere == (False, "connect timeout after 1.0 s from 192.0.2.1 to 192.0.2.1:8080")
    assert unmarked == (False, "connect timeout after 1.0 s from 192.0.2.1 to 192.0.2.99:8080")
    with CheckerProcess([virtual_server(marked)], nobody=True, namespace=namespace) as checker:
        checker.wait_for_log("Permission denied; this says nothing about the real server")
