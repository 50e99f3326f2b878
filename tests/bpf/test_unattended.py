# SPDX-License-Identifier: Apache-2.0
"""Connections while no director is in charge, and grace for packets of unknown connections."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from collections.abc import Iterator

import pytest
from tests.support.namespaces import Namespace
from tests.support.program_run import SERVERS, SMALL, VIP, VIP6, Director, tcp, udp

from pointsman.model.service import ServiceKey, Transport

pytestmark = pytest.mark.root
CLIENT, CLIENT6 = "198.51.100.7", "2001:db8::7"
KEY = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), 80)
KEY6 = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP6), 80)
UDP = ServiceKey.of(Transport.UDP, ipaddress.ip_address(VIP), 53)
ALL = (KEY, KEY6, UDP)
"""All but TCP port 8000, as if that one were added by hand."""
ROOMY = dataclasses.replace(SMALL, members=16384)
"""Room for the slots of mh."""


@pytest.fixture
def director() -> Iterator[Director]:
    with Director(ROOMY) as made:
        made.setup(
            command
            for service in (f"-t {VIP}:80", f"-u {VIP}:53", f"-t {VIP}:8000")
            for command in (f"-A {service} -s rr", f"-a {service} -r {next(iter(SERVERS))} -g")
        )
        made.setup([f"-A -t [{VIP6}]:80 -s rr", f"-a -t [{VIP6}]:80 -r [fd00:100::11]:80 -g"])
        yield made


def send(director: Director, flags: str, port: int = 1000, client: str = CLIENT) -> str | None:
    return director.server_of(tcp(flags, client, port, 80))


def counted(director: Director, reason: str) -> int:
    return director.exits().get(reason, 0)


@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
def test_a_kept_service_forwards_known_connections_and_begins_none(director: Director, client: str) -> None:
    server = send(director, "S", client=client)
    assert server and send(director, "A", client=client) == server
    director.plane.unattended.keep(ALL, 900)
    assert send(director, "A", client=client) == server
    assert send(director, "S", 2000, client) == "pass", "as if there were no service"
    assert send(director, "R", 2001, client) == "pass"
    assert counted(director, "no_service") == 2 and counted(director, "grace") == 0
    assert send(director, "A", 2002, client) is None, "the stack would reset the connection"
    assert counted(director, "grace") == 1
    assert director.server_of(udp(CLIENT, 2003, 53)) == "pass"


def test_a_service_by_hand_stays_in_force(director: Director) -> None:
    director.plane.unattended.keep(ALL, 900)
    assert director.server_of(tcp("S", CLIENT, 1000, 8000)) in SERVERS


def test_kept_connections_end_when_their_time_is_over(director: Director) -> None:
    send(director, "S")
    send(director, "A")
    director.server_of(tcp("S", CLIENT, 1000, 8000))
    director.server_of(tcp("A", CLIENT, 1000, 8000))
    director.plane.unattended.keep(ALL, 10)
    assert director.plane.unattended.seconds_left() == 10
    director.wait(9)
    assert send(director, "A") in SERVERS
    director.wait(1)
    assert director.plane.unattended.seconds_left() == 0
    assert send(director, "A") == "pass", "as if there were no service"
    assert counted(director, "grace") == 0
    assert [str(each.virtual_port) for each in director.plane.connections()] == ["8000"]


def test_templates_of_a_kept_service_end_too(director: Director) -> None:
    director.setup([f"-E -t {VIP}:80 -s rr -p 3600"])
    send(director, "S")
    director.plane.unattended.keep(ALL, 10)
    director.wait(11)
    assert list(director.plane.connections()) == []


def test_the_next_director_serves_all_again(director: Director) -> None:
    server = send(director, "S")
    director.plane.unattended.keep(ALL, 900)
    assert director.plane.unattended.kept() == frozenset(ALL)
    director.plane.unattended.resume()
    assert director.plane.unattended.kept() == frozenset()
    assert send(director, "A") == server
    assert send(director, "S", 2000) in SERVERS
    assert send(director, "A", 2001) == "pass" and counted(director, "no_connection") == 1


@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
def test_grace_drops_packets_of_unknown_connections(director: Director, client: str) -> None:
    director.plane.unattended.set_grace({KEY: 5, KEY6: 5})
    assert send(director, "A", client=client) is None and counted(director, "grace") == 1
    assert send(director, "R", client=client) == "pass"
    assert send(director, "S", 2000, client) is not None
    director.wait(5)
    assert send(director, "A", client=client) == "pass" and counted(director, "grace") == 1


def test_grace_lasts_until_it_is_changed(director: Director) -> None:
    director.plane.unattended.set_grace({KEY: None})
    director.wait(10)
    assert send(director, "A") is None
    director.plane.unattended.set_grace({KEY: 0})
    assert send(director, "A") == "pass"


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_in_grace_a_hash_serves_as_the_other_director_did(director: Director, scheduler: str) -> None:
    director.setup([f"-E -t {VIP}:80 -s {scheduler}"])
    director.setup(f"-a -t {VIP}:80 -r {server} -g" for server in list(SERVERS)[1:])
    with Director(ROOMY) as other:
        other.setup([f"-A -t {VIP}:80 -s {scheduler}"])
        other.setup(f"-a -t {VIP}:80 -r {server} -g" for server in SERVERS)
        chosen = [send(other, "S", client=f"198.51.100.{host}") for host in range(1, 50)]
    director.plane.unattended.set_grace({KEY: 5})
    assert [send(director, "A", client=f"198.51.100.{host}") for host in range(1, 50)] == chosen
    assert len(set(chosen)) > 2 and counted(director, "grace") == 0
    director.wait(5)
    assert send(director, "A", client="198.51.100.1") == chosen[0], "the connection is known now"
    assert send(director, "A", client="198.51.100.77") == "pass"


def test_a_connection_of_this_host_itself_is_left_to_it(director: Director) -> None:
    with Namespace("grace") as host:
        for address in (VIP, CLIENT):
            host.ip(f"address add {address}/32 dev lo")
        with host.entered(), socket.create_server((VIP, 80)) as listener:
            director.plane.unattended.keep(ALL, 900)
            with socket.create_connection((VIP, 80), source_address=(CLIENT, 1000)):
                accepted, _ = listener.accept()
                assert send(director, "A") == "pass", "this host is a real server, too"
                assert send(director, "A", 2000) is None, "a listener does not know the connection"
                accepted.close()
