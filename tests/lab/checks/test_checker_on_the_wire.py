# SPDX-License-Identifier: Apache-2.0
"""The checker in a namespace, with a real server behind a veth pair: what it sends, counted on the wire."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.lab.checker_process import CheckerProcess, check, virtual_server
from tests.support.namespaces import Namespaces
from tests.support.until import until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
]

DIRECTOR, SERVER = "192.168.100.10", "192.168.100.20"
SERVER_MAC = "02:00:00:00:00:20"
ETH_P_ALL, ETH_P_IP, SYN, ACK = 0x0003, 0x0800, 0x02, 0x10


@dataclass
class Wire:
    """A director and a real server in namespaces of their own, and a capture at the director."""

    hosts: Namespaces
    capture: socket.socket
    listener: subprocess.Popen[bytes] | None = None
    ports: set[int] = field(default_factory=set)

    @property
    def director(self) -> str:
        return self.hosts.names["d"]

    @property
    def server(self) -> str:
        return self.hosts.names["s"]

    def run(self, where: str, command: str) -> None:
        self.hosts.run(where, command)

    def serve(self) -> None:
        """Start a listener on the real server; returns when it listens."""
        body = (
            "import socket\n"
            f"listener = socket.create_server(('{SERVER}', 80))\n"
            "print('ready', flush=True)\n"
            "while True:\n    listener.accept()[0].close()\n"
        )
        self.listener = subprocess.Popen(
            self.hosts.command("s", sys.executable, "-c", body), stdout=subprocess.PIPE
        )
        assert self.listener.stdout is not None
        assert self.listener.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self.listener is not None:
            self.listener.kill()
            self.listener.wait()
            if self.listener.stdout is not None:
                self.listener.stdout.close()
            self.listener = None

    def probes(self) -> int:
        """Handshakes begun since `forget`; a SYN that is sent again counts once."""
        while True:
            try:
                frame, (_, protocol, kind, _, _) = self.capture.recvfrom(2048)
            except BlockingIOError:
                return len(self.ports)
            if (protocol, kind, frame[23]) != (ETH_P_IP, socket.PACKET_OUTGOING, socket.IPPROTO_TCP):
                continue
            header = 14 + (frame[14] & 0x0F) * 4
            if frame[header + 13] & (SYN | ACK) == SYN:
                self.ports.add(struct.unpack_from("!H", frame, header)[0])

    def forget(self) -> None:
        """Count from here."""
        self.probes()
        self.ports.clear()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Namespaces("health", "d", "s") as hosts, contextlib.ExitStack() as stack:
        with hosts.entered("d"):
            capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        stack.enter_context(capture)
        capture.setblocking(False)
        hosts.run("d", f"ip link add ens224 type veth peer name ens224 netns {hosts.names['s']}")
        hosts.run("s", f"ip link set ens224 address {SERVER_MAC}")
        for role, address in (("d", DIRECTOR), ("s", SERVER)):
            hosts.run(role, f"ip address add {address}/24 dev ens224")
            hosts.run(role, "ip link set ens224 up")
        # With the neighbour given, a real server that has lost its address is silent instead of unreachable.
        hosts.run("d", f"ip neighbour replace {SERVER} lladdr {SERVER_MAC} dev ens224 nud permanent")
        found = Wire(hosts, capture)
        stack.callback(found.kill)
        yield found


def test_refused_and_silent_take_retry_and_one_probes_and_one_brings_back(wire: Wire) -> None:
    wire.serve()
    # The whole delay_loop after a passed probe is there for what the test does in between.
    quick = check(SERVER, 80, delay_loop=1.0)
    with CheckerProcess([virtual_server(quick)], namespace=wire.director) as checker:
        assert checker.verdict().reason == f"connected to {SERVER}:80"
        assert wire.probes() == 1
        wire.forget()
        wire.kill()
        down = checker.verdict()
        assert down.reason == f"3 of 3 failed: connection refused by {SERVER}:80"
        assert wire.probes() == 3
        wire.serve()
        assert checker.verdict().up

        wire.forget()
        wire.run(wire.server, f"ip address del {SERVER}/24 dev ens224")
        down = checker.verdict()
        assert down.reason == f"3 of 3 failed: connect timeout after 0.3 s from {DIRECTOR} to {SERVER}:80"
        assert wire.probes() == 3
        wire.run(wire.server, f"ip address add {SERVER}/24 dev ens224")
        assert checker.verdict().up
        assert checker.stop()[0] == 0


def test_a_host_that_nobody_routes_to_is_named_as_such(wire: Wire) -> None:
    with CheckerProcess([virtual_server(check("203.0.113.7", 80))], namespace=wire.director) as checker:
        assert checker.verdict().reason == "network of 203.0.113.7:80 unreachable"


def test_a_host_without_an_answer_to_arp_is_down(wire: Wire) -> None:
    absent = check("192.168.100.99", 80, connect_timeout=6.0)
    with CheckerProcess([virtual_server(absent)], namespace=wire.director) as checker:
        assert checker.verdict(12.0).reason == "no route to host 192.168.100.99:80"


def test_a_passed_probe_leaves_no_connection_behind(wire: Wire) -> None:
    wire.serve()
    with CheckerProcess([virtual_server(check(SERVER, 80))], namespace=wire.director) as checker:
        checker.verdict()
        until("three probes have begun", lambda: wire.probes() >= 3)
        established = f"nsenter --net=/run/netns/{wire.director} ss -Htn state established".split()
        until(
            "no connection is left",
            lambda: subprocess.run(established, capture_output=True, check=True).stdout == b"",
        )
