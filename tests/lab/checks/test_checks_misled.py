# SPDX-License-Identifier: Apache-2.0
"""Servers that drip, flood, hang half-way or vanish: each check ends in time, for the right reason."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.lab.cable import REAL, Cable
from tests.lab.checker_process import CheckerProcess, steady, verdicts, virtual_server
from tests.lab.nginx import HOST
from tests.support.until import DEADLINE, until

from pointsman.model.checks import DnsCheck, HttpCheck, SmtpCheck, UdpCheck, Url

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process of another user, and namespaces"),
]
Body = Callable[[socket.socket], None]
SILENT_AFTER_REQUEST = """
import socket, time
listener = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
print("on", flush=True)
held = []
while True:
    held.append(listener.accept()[0])
"""


@contextlib.contextmanager
def tcp_server(body: Body) -> Iterator[int]:
    """The port of a server that treats every client like this."""
    listener = socket.create_server((HOST, 0))

    def speak(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            body(connection)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=speak, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def dripping(connection: socket.socket) -> None:
    """A greeting that never comes to its end."""
    for sign in b"220 welcome to this mail server, which is a slow one" * 10:
        connection.send(bytes([sign]))
        time.sleep(0.1)


def mute_after(*answers: bytes) -> Body:
    def body(connection: socket.socket) -> None:
        for answer in answers:
            connection.sendall(answer)
            connection.recv(1000)
        time.sleep(10)

    return body


def resetting(connection: socket.socket) -> None:
    connection.sendall(b"220 x\r\n")
    connection.recv(1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_mail_servers_end_in_time_wherever_they_hang() -> None:
    bodies = (dripping, mute_after(b"220 x\r\n"), mute_after(b"220 x\r\n", b"250 y\r\n"), resetting)
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(tcp_server(body)) for body in bodies]
        found = verdicts(*(steady(SmtpCheck, port, connect_timeout=2.0) for port in ports))
    assert found == [
        (False, f"no greeting within 2.0 s from {HOST}:{ports[0]}"),
        (False, f"no answer to HELO within 2.0 s from {HOST}:{ports[1]}"),
        (False, f"no answer to QUIT within 2.0 s from {HOST}:{ports[2]}"),
        (False, f"connection reset by {HOST}:{ports[3]}"),
    ]


def test_a_flood_of_wrong_answers_ends_in_time() -> None:
    """A name server that answers one question with datagrams without end; other checks go on beside it."""
    stop = threading.Event()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((HOST, 0))

    def flood() -> None:
        with contextlib.suppress(OSError):
            _, client = server.recvfrom(2048)
            while not stop.is_set():
                with contextlib.suppress(ConnectionRefusedError):
                    server.sendto(os.urandom(40), client)

    threading.Thread(target=flood, daemon=True).start()
    port = server.getsockname()[1]
    with tcp_server(mute_after(b"220 x\r\n", b"250 y\r\n", b"221 bye\r\n")) as mail:
        began = time.monotonic()
        found = verdicts(
            steady(DnsCheck, port, connect_timeout=1.0),
            steady(UdpCheck, port, connect_timeout=1.0, require_reply=True, reply=b"\0", reply_mask=b"\xff"),
            steady(SmtpCheck, mail, connect_timeout=5.0),
        )
        took = time.monotonic() - began
    stop.set()
    server.close()
    assert found[0] == (False, f"no answer to {HOST} within 1.0 s from {HOST}:{port}")
    assert not found[1][0]
    assert found[2][0], found[2]
    assert took < DEADLINE


def test_a_connection_that_is_half_open_ends_in_time_and_leaves_nothing() -> None:
    """The real server takes the request and is unplugged: no answer, no end, no reset ever comes."""
    cable = Cable(SILENT_AFTER_REQUEST)
    established = ["nsenter", f"--net=/run/netns/{cable.director}", "ss", "-Htn", "state", "established"]

    def connections() -> str:
        return subprocess.run(established, check=True, capture_output=True, text=True).stdout

    check = steady(HttpCheck, 80, REAL, retry=0, urls=(Url(),), connect_timeout=3.0, delay_loop=60.0)
    try:
        with CheckerProcess([virtual_server(check)], namespace=cable.director, nobody=True) as checker:
            until("a connection is held", lambda: f"{REAL}:80" in connections())
            cable.run(cable.real, "ip link set eth0 down")
            verdict = checker.verdict()
            assert (verdict.up, verdict.reason) == (False, f"read timeout after 3.0 s from {REAL}:80")
            until("no connection is left", lambda: not connections())
    finally:
        cable.close()
