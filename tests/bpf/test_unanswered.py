# SPDX-License-Identifier: Apache-2.0
"""What a real server leaves unanswered: repeated SYNs and connections that expire half open."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
from tests.support.program_run import NAMES, SERVERS6, VIP, VIP6, Director, tcp

from pointsman.model.operations import AddServer, AddService, DeleteServer, EditServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.traffic import Unanswered

pytestmark = pytest.mark.root
KEY = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), 80)
SERVER = ServerKey(ipaddress.ip_address(NAMES["rs1"]), 80)
HALF_OPEN = 60
"""Seconds of SYN_RECV."""


@pytest.fixture
def director() -> Iterator[Director]:
    with Director() as made:
        start(made, KEY, SERVER)
        yield made


def start(director: Director, key: ServiceKey, server: ServerKey) -> None:
    """A service with one real server."""
    service = VirtualService(key=key, scheduler="rr")
    assert director.plane.apply([AddService(service), AddServer(key, RealServer(key=server))]) == []


def send(director: Director, flags: str, ports: range, client: str = "198.51.100.7") -> None:
    """Send a packet with each of these flags from each port."""
    for port in ports:
        for each in flags:
            director.send(tcp(each, client, port, 80))


def test_a_connection_that_repeats_its_syn_is_counted_once(director: Director) -> None:
    send(director, "S", range(1000, 1003))
    assert director.plane.unanswered() == {}
    send(director, "SSS", range(1000, 1003))
    assert director.plane.unanswered() == {(KEY, SERVER): Unanswered(3, 0, 0)}


@pytest.mark.parametrize("answer", ["A", "R", "F"])
def test_one_answered_client_ends_it(director: Director, answer: str) -> None:
    """A flood with forged addresses beside one client, or a scan whose host resets, is nothing to tell of."""
    send(director, "SS", range(1000, 1009))
    send(director, "S" + answer, range(2000, 2001))
    assert director.plane.unanswered() == {(KEY, SERVER): Unanswered(0, 0, 0)}


def test_connections_that_expire_half_open_are_counted(director: Director) -> None:
    """The client of a program that does not listen on the VIP is refused: it sends one SYN and no more."""
    send(director, "SA", range(2000, 2002))
    send(director, "S", range(1000, 1004))
    director.wait(HALF_OPEN + 1)
    director.sweep()
    found = director.plane.unanswered()[KEY, SERVER]
    assert (found.repeating, found.expired) == (0, 4)
    director.wait(7)
    assert director.plane.unanswered() == {(KEY, SERVER): Unanswered(0, 4, found.age + 7)}


def test_with_secure_tcp_too(director: Director) -> None:
    director.plane.tune({"secure_tcp": 3})
    send(director, "SS", range(1000, 1003))
    assert director.plane.unanswered() == {(KEY, SERVER): Unanswered(3, 0, 0)}


def test_only_servers_that_take_connections_are_told_of(director: Director) -> None:
    send(director, "SS", range(1000, 1003))
    director.plane.apply([EditServer(KEY, RealServer(key=SERVER, weight=0))])
    assert director.plane.unanswered() == {}
    director.plane.apply([EditServer(KEY, RealServer(key=SERVER))])
    assert director.plane.unanswered() == {(KEY, SERVER): Unanswered(3, 0, 0)}
    director.plane.apply([DeleteServer(KEY, SERVER)])
    assert director.plane.unanswered() == {}


def test_over_ipv6(director: Director) -> None:
    director.resolve(SERVERS6)
    key = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP6), 80)
    server = ServerKey(ipaddress.ip_address(next(iter(SERVERS6))), 80)
    start(director, key, server)
    send(director, "SS", range(1000, 1003), "2001:db8::7")
    assert director.plane.unanswered() == {(key, server): Unanswered(3, 0, 0)}
