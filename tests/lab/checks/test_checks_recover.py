# SPDX-License-Identifier: Apache-2.0
"""Each checker and a real server of its kind: it passes, fails in each way that it sees, comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.lab.cable import REAL, Cable
from tests.lab.checker_process import CheckerProcess, numbered_service, steady, virtual_server
from tests.lab.nginx import HOST, Nginx

from pointsman.model.checks import (
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    PingCheck,
    UdpCheck,
    Url,
)
from pointsman.model.health import AnyCheck, VirtualServer
from pointsman.model.tracking import Command, TrackFile

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for processes of others, and for namespaces"),
]
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", PORT))
while True:
    server.sendto(*server.recvfrom(2048))
"""

Act = Callable[[], object]
Step = tuple[Act, str]
"""The failure of the real server, and a part of the reason for its removal; empty: it comes back."""


class Server:
    """A program on loopback, which is killed, frozen and started again."""

    def __init__(self, words: Sequence[str | Path]) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stderr=subprocess.DEVNULL)

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


def story(
    steps: list[Step], services: list[VirtualServer], programs: bool = False, namespace: str | None = None
) -> None:
    """Each step brings exactly one verdict."""
    with CheckerProcess(services, namespace=namespace, nobody=not programs, programs=programs) as checker:
        for number, (act, reason) in enumerate(steps):
            act()
            verdict = checker.verdict(60.0)
            assert verdict.up is (not reason), (number, verdict.reason)
            assert reason in verdict.reason, (number, verdict.reason)
        assert checker.stop()[0] == 0


def killed_and_frozen(server: Server, silent: str) -> list[Step]:
    """Started, frozen, thawed, killed, started again."""
    return [
        (server.start, ""),
        (server.freeze, silent),
        (server.thaw, ""),
        (server.kill, f"connection refused by {HOST}"),
        (server.start, ""),
    ]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def from_the_start(server: Server, steps: list[Step], check: AnyCheck) -> None:
    """The program is not there at first."""
    try:
        story([(lambda: None, "connection refused"), *steps], [virtual_server(check)])
    finally:
        server.kill()


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
def test_dns(tmp_path: Path) -> None:
    port = free_port()
    words = f"dnsmasq -k -p {port} -a {HOST} -z -R -h -C /dev/null --host-record=web.test,192.0.2.1 -x"
    server = Server([*words.split(), tmp_path / "pid"])
    check = steady(DnsCheck, port, name="web.test", record="A")
    from_the_start(server, killed_and_frozen(server, "no answer to"), check)


def test_udp() -> None:
    port = free_port()
    server = Server([sys.executable, "-c", ECHO.replace("PORT", str(port))])
    check = steady(UdpCheck, port, require_reply=True)
    from_the_start(server, killed_and_frozen(server, "no reply to"), check)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize(("tls", "silent"), [(False, "read timeout"), (True, "TLS handshake timeout")])
def test_http(tmp_path: Path, tls: bool, silent: str) -> None:
    nginx = Nginx(tmp_path)
    port = nginx.tls if tls else nginx.plain
    page = tmp_path / "www" / "index.html"

    def send(number: signal.Signals) -> Act:
        def now() -> None:
            assert nginx.process is not None
            nginx.process.send_signal(number)

        return now

    steps: list[Step] = [
        (lambda: None, ""),
        (send(signal.SIGSTOP), silent),
        (send(signal.SIGCONT), ""),
        (nginx.stop, "connection refused"),
        (nginx.start, ""),
        (page.unlink, "status 403 instead of 200-299"),
        (lambda: page.write_text("again"), ""),
    ]
    try:
        story(steps, [virtual_server(steady(HttpCheck, port, tls=tls, urls=(Url(),)))])
    finally:
        nginx.stop()


def test_ping(cable: Cable) -> None:
    def ignore(value: int) -> Act:
        word = f"sysctl -qw net.ipv4.icmp_echo_ignore_all={value}"
        return lambda: cable.run(cable.real, word)

    steps: list[Step] = [
        (lambda: None, ""),
        (ignore(1), f"no echo to 192.0.2.10 within 1.0 s from {REAL}"),
        (ignore(0), ""),
        (lambda: cable.run(cable.real, "ip link set eth0 down"), REAL),
        (lambda: cable.run(cable.real, "ip link set eth0 up"), ""),
    ]
    story(steps, [virtual_server(steady(PingCheck, 0, REAL))], namespace=cable.director)


def test_programs(tmp_path: Path) -> None:
    script, state = tmp_path / "script", tmp_path / "state"
    script.write_text(f"#!/bin/sh\n. {state}\n")
    script.chmod(0o755)
    state.write_text("exit 0\n")
    check = MiscCheck(
        command=Command((str(script),), "root"),
        delay_loop=0.2,
        delay_before_retry=0.1,
        retry=1,
        warmup=0.0,
        timeout=1.0,
    )

    def now(text: str) -> Act:
        def write() -> None:
            # In one step: a program must not read half of it.
            (tmp_path / "next").write_text(text)
            (tmp_path / "next").rename(state)

        return write

    steps: list[Step] = [
        (lambda: None, ""),
        (now("exit 1\n"), "exited with status 1"),
        (now("exit 0\n"), ""),
        (now("sleep 60\n"), "timed out after 1 s"),
        (now("exit 0\n"), ""),
        (now("kill -9 $$\n"), "ended by signal 9"),
        (now("exit 0\n"), ""),
    ]
    story(steps, [numbered_service(check)], programs=True)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    check = FileCheck(
        file=TrackFile(name="number", path=str(path)), weight=0, delay_loop=0.2, retry=0, warmup=0.0
    )
    steps: list[Step] = [
        (lambda: None, ""),
        (lambda: path.write_text("1"), "1"),
        (lambda: path.write_text("0"), ""),
        (lambda: path.write_text("-7 words"), "-7"),
        (path.unlink, ""),
        (lambda: path.write_text("3"), "3"),
        (lambda: path.write_text("no number"), ""),
    ]
    story(steps, [numbered_service(check)], programs=True)
