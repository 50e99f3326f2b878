"""DR_CHECK between network namespaces: it finds what a check of the real server's own address cannot see."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from tests.lab.checker_process import QUICK, CheckerProcess, virtual_server

from pointsman.model.checks import DirectCheck, TcpCheck
from pointsman.model.health import AnyCheck

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]
VIP, REAL = "192.0.2.9", "192.0.2.20"
LISTEN = """
import socket
listener = socket.create_server(("0.0.0.0", 80))
print("on", flush=True)
while True:
    listener.accept()[0].close()
"""


class Segment:
    """A director and a real server on one cable; the real server listens on every address of its own."""

    def __init__(self) -> None:
        self.director, self.real = (f"pmt-health-{os.getpid()}-{end}" for end in ("d", "r"))
        for name in (self.director, self.real):
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.run(name, "ip link set lo up")
        self.run(self.director, f"ip link add eth0 type veth peer name eth0 netns {self.real}")
        for name, address in ((self.director, "192.0.2.10"), (self.real, REAL)):
            self.run(name, f"ip addr add {address}/24 dev eth0")
            self.run(name, "ip link set eth0 up")
        self.run(self.real, "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
        self._listener: subprocess.Popen[bytes] | None = None
        self.listen()

    def run(self, namespace: str, command: str) -> None:
        subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", *command.split()], check=True)

    def listen(self) -> None:
        self._listener = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.real}", "python3", "-c", LISTEN], stdout=subprocess.PIPE
        )
        assert self._listener.stdout is not None
        assert self._listener.stdout.readline() == b"on\n"

    def kill(self) -> None:
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait()
            self._listener = None

    def close(self) -> None:
        self.kill()
        for name in (self.director, self.real):
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment()
    yield made
    made.close()


def direct(**changes: Any) -> DirectCheck:
    fields = {**QUICK, "retry": 0, "connect_timeout": 2.0, **changes}
    return DirectCheck(
        virtual_address=ip_address(VIP), connect_address=ip_address(REAL), connect_port=80, **fields
    )


def tcp() -> TcpCheck:
    return TcpCheck(connect_address=ip_address(REAL), connect_port=80, **{**QUICK, "retry": 0})  # type: ignore[arg-type]


def first(segment: Segment, check: AnyCheck) -> tuple[bool, str]:
    with CheckerProcess([virtual_server(check)], namespace=segment.director, nobody=True) as checker:
        verdict = checker.verdict()
        assert checker.stop()[0] == 0
    return verdict.up, verdict.reason


@pytest.mark.parametrize("bears_the_vip", [True, False], ids=["master", "backup"])
def test_a_real_server_that_serves_the_vip_passes(segment: Segment, bears_the_vip: bool) -> None:
    segment.run(segment.real, f"ip addr add {VIP}/32 dev lo")
    if bears_the_vip:
        segment.run(segment.director, f"ip addr add {VIP}/32 dev eth0")
    up, reason = first(segment, direct())
    assert up, reason
    assert reason.startswith(f"handshake with {VIP}:80 at {REAL} (")


@pytest.mark.parametrize("forwards", [0, 1])
def test_a_real_server_without_the_vip_is_found_although_its_own_address_answers(
    segment: Segment, forwards: int
) -> None:
    """Also one that forwards, and would send the packet back to the director: it has no hop left."""
    segment.run(segment.real, f"sysctl -qw net.ipv4.ip_forward={forwards}")
    assert first(segment, tcp())[0]
    up, reason = first(segment, direct())
    assert not up
    assert reason.startswith(f"no answer to 192.0.2.10 within 2.0 s from {VIP}:80 at {REAL} (")
    assert reason.endswith("is the VIP on its lo, and no firewall before it?")


def test_a_firewall_on_the_vip_alone_is_found(segment: Segment) -> None:
    segment.run(segment.real, f"ip addr add {VIP}/32 dev lo")
    segment.run(segment.real, f"ip rule add from 192.0.2.10 to {VIP} blackhole pref 0")
    segment.run(segment.real, "ip rule add lookup local pref 1")
    segment.run(segment.real, "ip rule del lookup local pref 0")
    assert first(segment, tcp())[0]
    assert not first(segment, direct())[0]


def test_nothing_listens_on_the_vip(segment: Segment) -> None:
    segment.run(segment.real, f"ip addr add {VIP}/32 dev lo")
    segment.kill()
    up, reason = first(segment, direct())
    assert not up
    assert reason.startswith("connection refused by 192.0.2.9:80 at 192.0.2.20 (")
    assert reason.endswith("nothing listens on the VIP")


def test_a_dead_host_does_not_answer_arp(segment: Segment) -> None:
    segment.run(segment.real, "ip link set eth0 down")
    segment.run(segment.real, f"ip addr del {REAL}/24 dev eth0")
    segment.run(segment.real, "ip link set eth0 up")
    assert first(segment, direct()) == (False, f"no answer to ARP for {REAL} within 2.0 s")


def test_an_address_behind_a_router_says_nothing(segment: Segment) -> None:
    segment.run(segment.director, "ip route add 198.51.100.0/24 via 192.0.2.20")
    far = direct(connect_timeout=0.5)
    far = DirectCheck(
        virtual_address=far.virtual_address,
        connect_address=ip_address("198.51.100.1"),
        connect_port=80,
        **QUICK,  # type: ignore[arg-type]
    )
    with CheckerProcess([virtual_server(far)], namespace=segment.director, nobody=True) as checker:
        checker.wait_for_log("198.51.100.1 is not on-link; direct routing needs it there")


def test_it_goes_down_and_comes_back_with_the_vip(segment: Segment) -> None:
    segment.run(segment.real, f"ip addr add {VIP}/32 dev lo")
    with CheckerProcess([virtual_server(direct())], namespace=segment.director, nobody=True) as checker:
        assert checker.verdict().up
        segment.run(segment.real, f"ip addr del {VIP}/32 dev lo")
        assert not checker.verdict().up
        segment.run(segment.real, f"ip addr add {VIP}/32 dev lo")
        assert checker.verdict().up
