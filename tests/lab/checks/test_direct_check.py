# SPDX-License-Identifier: Apache-2.0
"""DR_CHECK between network namespaces: it finds what a check of the real server's own address cannot see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
from tests.lab.cable import BOTH, IPV4, IPV6, Cable, Way
from tests.lab.checker_process import QUICK, CheckerProcess, virtual_server

from pointsman.model.checks import DirectCheck, TcpCheck
from pointsman.model.health import AnyCheck
from pointsman.model.service import ServiceKey, Transport, VirtualService

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


def direct(way: Way, address: str = "", **changes: Any) -> DirectCheck:
    fields = {**QUICK, "retry": 0, "connect_timeout": 2.0, **changes}
    return DirectCheck(
        virtual_address=ip_address(way.vip),
        connect_address=ip_address(address or way.real),
        connect_port=80,
        **fields,
    )


def tcp(way: Way) -> TcpCheck:
    fields: dict[str, Any] = {**QUICK, "retry": 0, "connect_timeout": 2.0}
    return TcpCheck(connect_address=ip_address(way.real), connect_port=80, **fields)


def first(cable: Cable, check: AnyCheck, way: Way = IPV4) -> tuple[bool, str]:
    key = ServiceKey.of(Transport.TCP, ip_address(way.vip), 80)
    service = msgspec.structs.replace(virtual_server(check), service=VirtualService(key=key))
    with CheckerProcess([service], namespace=cable.director, nobody=True) as checker:
        verdict = checker.verdict(30.0)
        assert checker.stop()[0] == 0
    return verdict.up, verdict.reason


@BOTH
@pytest.mark.parametrize("bears_the_vip", [True, False], ids=["master", "backup"])
def test_a_real_server_that_serves_the_vip_passes(cable: Cable, way: Way, bears_the_vip: bool) -> None:
    """A director with the VIP does not take it for its own end: over IPv6 the kernel would choose it."""
    cable.bear(cable.real, way, "lo")
    if bears_the_vip:
        cable.bear(cable.director, way, "eth0")
    up, reason = first(cable, direct(way))
    assert up, reason
    assert reason.startswith(f"handshake with {way.at(way.vip, 80)} at {way.real} (")


@BOTH
@pytest.mark.parametrize("forwards", [0, 1])
def test_a_real_server_without_the_vip_is_found_although_its_own_address_answers(
    cable: Cable, way: Way, forwards: int
) -> None:
    """Also one that forwards, and would send the packet back to the director: it has no hop left."""
    cable.run(cable.real, f"sysctl -qw {way.forwarding}={forwards}")
    assert first(cable, tcp(way))[0]
    up, reason = first(cable, direct(way))
    assert not up
    told = f"no answer to {way.director} within 2.0 s from {way.at(way.vip, 80)} at {way.real} ("
    assert reason.startswith(told), reason
    assert reason.endswith("check that the VIP is on its lo, and that no firewall drops the packet")


@BOTH
def test_a_firewall_on_the_vip_alone_is_found(cable: Cable, way: Way) -> None:
    cable.bear(cable.real, way, "lo")
    cable.run(cable.real, f"{way.ip} rule add from {way.director} to {way.vip} blackhole pref 0")
    cable.run(cable.real, f"{way.ip} rule add lookup local pref 1")
    cable.run(cable.real, f"{way.ip} rule del lookup local pref 0")
    assert first(cable, tcp(way))[0]
    assert not first(cable, direct(way))[0]


@BOTH
def test_nothing_listens_on_the_vip(cable: Cable, way: Way) -> None:
    cable.bear(cable.real, way, "lo")
    cable.kill()
    up, reason = first(cable, direct(way))
    assert not up
    assert reason.startswith(f"connection refused by {way.at(way.vip, 80)} at {way.real} ("), reason
    assert reason.endswith("no program listens on the VIP")


@pytest.mark.parametrize(
    ("way", "asks"), [(IPV4, "ARP"), (IPV6, "neighbour discovery")], ids=["IPv4", "IPv6"]
)
def test_a_dead_host_says_nothing_to_who_looks_for_it(cable: Cable, way: Way, asks: str) -> None:
    cable.run(cable.real, "ip link set eth0 down")
    cable.run(cable.real, "ip addr flush dev eth0")
    cable.run(cable.real, "ip link set eth0 up")
    assert first(cable, direct(way)) == (False, f"no answer to {asks} for {way.real} within 2.0 s")


@pytest.mark.parametrize(
    ("way", "far"), [(IPV4, "198.51.100.1"), (IPV6, "2001:db8:1::1")], ids=["IPv4", "IPv6"]
)
def test_an_address_behind_a_router_says_nothing(cable: Cable, way: Way, far: str) -> None:
    cable.run(cable.director, f"{way.ip} route add {far}/{way.host} via {way.real}")
    check = direct(way, address=far)
    with CheckerProcess([virtual_server(check)], namespace=cable.director, nobody=True) as checker:
        checker.wait_for_log(f"{far} is not on-link; direct routing needs it there", 30.0)


@BOTH
def test_it_goes_down_and_comes_back_with_the_vip(cable: Cable, way: Way) -> None:
    cable.bear(cable.real, way, "lo")
    with CheckerProcess([virtual_server(direct(way))], namespace=cable.director, nobody=True) as checker:
        assert checker.verdict(30.0).up
        cable.run(cable.real, f"{way.ip} addr del {way.vip}/{way.host} dev lo")
        assert not checker.verdict(30.0).up
        cable.bear(cable.real, way, "lo")
        assert checker.verdict(30.0).up


def test_over_ipv6_a_director_speaks_with_its_oldest_address_unless_told_otherwise(cable: Cable) -> None:
    """Another VIP with the network's own prefix is newer; the real server might have it, too."""
    cable.run(cable.director, "ip -6 addr add 2001:db8::21/64 dev eth0")
    assert "no answer to 2001:db8::10 within" in first(cable, direct(IPV6))[1]
    bound = direct(IPV6, bind_address=ip_address("2001:db8::21"))
    assert "no answer to 2001:db8::21 within" in first(cable, bound)[1]


@BOTH
def test_no_probe_leaves_from_a_virtual_address_that_the_kernel_would_choose(cable: Cable, way: Way) -> None:
    """The real server has the VIP, too, and would answer itself."""
    cable.bear(cable.real, way, "lo")
    cable.run(cable.director, f"{way.ip} addr add {way.vip}/{way.length} dev eth0")
    if way is IPV4:
        cable.run(cable.director, f"ip route add {way.real}/32 dev eth0 src {way.vip}")
    assert first(cable, tcp(way), way) == (True, f"connected to {way.at(way.real, 80)}")
