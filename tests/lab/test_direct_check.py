"""DR_CHECK between network namespaces: it finds what a check of the real server's own address cannot see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from tests.lab.cable import REAL, VIP, Cable
from tests.lab.checker_process import QUICK, CheckerProcess, virtual_server

from pointsman.model.checks import DirectCheck, TcpCheck
from pointsman.model.health import AnyCheck

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


def direct(**changes: Any) -> DirectCheck:
    fields = {**QUICK, "retry": 0, "connect_timeout": 2.0, **changes}
    return DirectCheck(
        virtual_address=ip_address(VIP), connect_address=ip_address(REAL), connect_port=80, **fields
    )


def tcp() -> TcpCheck:
    return TcpCheck(connect_address=ip_address(REAL), connect_port=80, **{**QUICK, "retry": 0})  # type: ignore[arg-type]


def first(cable: Cable, check: AnyCheck) -> tuple[bool, str]:
    with CheckerProcess([virtual_server(check)], namespace=cable.director, nobody=True) as checker:
        verdict = checker.verdict()
        assert checker.stop()[0] == 0
    return verdict.up, verdict.reason


@pytest.mark.parametrize("bears_the_vip", [True, False], ids=["master", "backup"])
def test_a_real_server_that_serves_the_vip_passes(cable: Cable, bears_the_vip: bool) -> None:
    cable.run(cable.real, f"ip addr add {VIP}/32 dev lo")
    if bears_the_vip:
        cable.run(cable.director, f"ip addr add {VIP}/32 dev eth0")
    up, reason = first(cable, direct())
    assert up, reason
    assert reason.startswith(f"handshake with {VIP}:80 at {REAL} (")


@pytest.mark.parametrize("forwards", [0, 1])
def test_a_real_server_without_the_vip_is_found_although_its_own_address_answers(
    cable: Cable, forwards: int
) -> None:
    """Also one that forwards, and would send the packet back to the director: it has no hop left."""
    cable.run(cable.real, f"sysctl -qw net.ipv4.ip_forward={forwards}")
    assert first(cable, tcp())[0]
    up, reason = first(cable, direct())
    assert not up
    assert reason.startswith(f"no answer to 192.0.2.10 within 2.0 s from {VIP}:80 at {REAL} (")
    assert reason.endswith("is the VIP on its lo, and no firewall before it?")


def test_a_firewall_on_the_vip_alone_is_found(cable: Cable) -> None:
    cable.run(cable.real, f"ip addr add {VIP}/32 dev lo")
    cable.run(cable.real, f"ip rule add from 192.0.2.10 to {VIP} blackhole pref 0")
    cable.run(cable.real, "ip rule add lookup local pref 1")
    cable.run(cable.real, "ip rule del lookup local pref 0")
    assert first(cable, tcp())[0]
    assert not first(cable, direct())[0]


def test_nothing_listens_on_the_vip(cable: Cable) -> None:
    cable.run(cable.real, f"ip addr add {VIP}/32 dev lo")
    cable.kill()
    up, reason = first(cable, direct())
    assert not up
    assert reason.startswith("connection refused by 192.0.2.9:80 at 192.0.2.20 (")
    assert reason.endswith("nothing listens on the VIP")


def test_a_dead_host_does_not_answer_arp(cable: Cable) -> None:
    cable.run(cable.real, "ip link set eth0 down")
    cable.run(cable.real, f"ip addr del {REAL}/24 dev eth0")
    cable.run(cable.real, "ip link set eth0 up")
    assert first(cable, direct()) == (False, f"no answer to ARP for {REAL} within 2.0 s")


def test_an_address_behind_a_router_says_nothing(cable: Cable) -> None:
    cable.run(cable.director, "ip route add 198.51.100.0/24 via 192.0.2.20")
    far = direct(connect_timeout=0.5)
    far = DirectCheck(
        virtual_address=far.virtual_address,
        connect_address=ip_address("198.51.100.1"),
        connect_port=80,
        **QUICK,  # type: ignore[arg-type]
    )
    with CheckerProcess([virtual_server(far)], namespace=cable.director, nobody=True) as checker:
        checker.wait_for_log("198.51.100.1 is not on-link; direct routing needs it there")


def test_it_goes_down_and_comes_back_with_the_vip(cable: Cable) -> None:
    cable.run(cable.real, f"ip addr add {VIP}/32 dev lo")
    with CheckerProcess([virtual_server(direct())], namespace=cable.director, nobody=True) as checker:
        assert checker.verdict().up
        cable.run(cable.real, f"ip addr del {VIP}/32 dev lo")
        assert not checker.verdict().up
        cable.run(cable.real, f"ip addr add {VIP}/32 dev lo")
        assert checker.verdict().up
