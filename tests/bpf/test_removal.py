# SPDX-License-Identifier: Apache-2.0
"""Real servers that are removed or watched: resets, and passive counters."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
from tests.support.program_run import (
    NAMES,
    SERVERS,
    SERVERS6,
    VIP,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    tcp,
    udp,
)

from pointsman.model.operations import AddServer, AddService, DeleteServer, EditServer, Operation
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.traffic import PassiveCounters

pytestmark = pytest.mark.root
KEY = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), 80)
FIRST, SECOND = (ServerKey(ipaddress.ip_address(NAMES[name]), 80) for name in ("rs1", "rs2"))
CLIENT = "198.51.100.7"


@pytest.fixture
def director() -> Iterator[Director]:
    with Director() as made:
        yield made


def start(director: Director, *, resets_clients: bool = False, is_watched: bool = False) -> None:
    """One service with one real server."""
    apply(
        director,
        AddService(VirtualService(key=KEY, scheduler="rr")),
        AddServer(KEY, RealServer(key=FIRST, resets_clients=resets_clients, is_watched=is_watched)),
    )


def apply(director: Director, *operations: Operation) -> None:
    assert director.plane.apply(operations) == []


def send(director: Director, flags: str, port: int = 1000) -> int:
    return director.send(tcp(flags, CLIENT, port, 80))[0]


@pytest.mark.parametrize("choice", [False, True])
def test_a_connection_of_a_removed_server_is_dropped_or_left_to_the_stack(
    director: Director, choice: bool
) -> None:
    start(director, resets_clients=choice)
    assert [send(director, flags) for flags in ("S", "A")] == [XDP_TX, XDP_TX]
    apply(director, AddServer(KEY, RealServer(key=SECOND)), DeleteServer(KEY, FIRST))
    frame = tcp("PA", CLIENT, 1000, 80)
    assert director.send(frame) == (XDP_PASS if choice else XDP_DROP, frame)
    assert director.exits() == {"connection_reset" if choice else "server_removed": 1}


def test_a_new_syn_on_the_ports_of_a_connection_that_was_reset_goes_to_a_server_that_is_there(
    director: Director,
) -> None:
    start(director, resets_clients=True)
    assert [send(director, flags, port) for port in (1000, 1001) for flags in ("S", "A")[: port - 999]]
    apply(director, AddServer(KEY, RealServer(key=SECOND)), DeleteServer(KEY, FIRST))
    for port in (1000, 1001):
        assert director.server_of(tcp("S", CLIENT, port, 80)) == NAMES["rs2"]
        assert director.server_of(tcp("A", CLIENT, port, 80)) == NAMES["rs2"]
    assert director.held(KEY) == {NAMES["rs2"]: (2, 0)}
    assert director.exits() == {}


def test_the_choice_can_be_changed_and_comes_back_with_the_table(director: Director) -> None:
    start(director)
    changed = RealServer(key=FIRST, resets_clients=True, is_watched=True)
    apply(director, EditServer(KEY, changed))
    (entry,) = director.plane.read()
    assert entry.servers == (changed,)
    director.resolve(SERVERS)
    (entry,) = director.plane.read()
    assert entry.servers == (changed,)
    apply(director, EditServer(KEY, RealServer(key=FIRST)))
    assert director.plane.passive_counters() == {}


def test_only_repeated_syns_and_resets_of_established_connections_are_signs(director: Director) -> None:
    start(director, is_watched=True)
    apply(director, AddServer(KEY, RealServer(key=SECOND, weight=0)))
    for flags in ("S", "A", "PA", "A", "FA", "A"):
        send(director, flags, 1000)
    assert director.plane.passive_counters() == {(KEY, FIRST): PassiveCounters(1, 0, 0)}
    for flags in ("S", "S", "S"):
        send(director, flags, 1001)
    for flags in ("S", "A", "R"):
        send(director, flags, 1002)
    for flags in ("S", "R"):
        send(director, flags, 1003)
    assert director.plane.passive_counters() == {(KEY, FIRST): PassiveCounters(4, 2, 1)}


def test_who_is_not_watched_shows_no_signs(director: Director) -> None:
    start(director)
    for flags in ("S", "S", "A", "R"):
        send(director, flags)
    apply(director, EditServer(KEY, RealServer(key=FIRST, is_watched=True)))
    assert director.plane.passive_counters() == {(KEY, FIRST): PassiveCounters(1, 0, 0)}


def test_signs_and_resets_of_ipv6(director: Director) -> None:
    """Test the same in the tables of the other family."""
    director.resolve(SERVERS6)
    key = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP6), 80)
    first, second = (ServerKey(ipaddress.ip_address(name), 80) for name in list(SERVERS6)[:2])
    apply(
        director,
        AddService(VirtualService(key=key, scheduler="rr")),
        AddServer(key, RealServer(key=first, resets_clients=True, is_watched=True)),
    )

    def say(flags: str, port: int) -> int:
        return director.send(tcp(flags, "2001:db8::7", port, 80))[0]

    for port, flags in ((1000, "SA"), (1001, "SSS"), (1002, "SAR"), (1003, "SR")):
        for flag in flags:
            assert say(flag, port) == XDP_TX
    assert director.plane.passive_counters() == {(key, first): PassiveCounters(4, 2, 1)}
    apply(director, AddServer(key, RealServer(key=second)), DeleteServer(key, first))
    assert say("A", 1000) == XDP_PASS
    assert director.exits() == {"connection_reset": 1}


@pytest.mark.parametrize("client", [CLIENT, "2001:db8::7"])
@pytest.mark.parametrize("resets", [False, True])
def test_a_client_that_keeps_sending_gets_another_server_when_its_entry_expires(
    director: Director, client: str, resets: bool
) -> None:
    """Syslog, SIP and DNS forwarders keep their port. IPVS: ip_vs_in() does not restart the timer."""
    vip, servers = (VIP6, list(SERVERS6)) if ":" in client else (VIP, list(SERVERS))
    key = ServiceKey.of(Transport.UDP, ipaddress.ip_address(vip), 514)
    first, second = (ServerKey(ipaddress.ip_address(address), 514) for address in servers[:2])
    director.ipvsadm("--set 0 0 5")
    apply(
        director,
        AddService(VirtualService(key=key, scheduler="rr")),
        AddServer(key, RealServer(key=first, resets_clients=resets)),
    )
    frame = udp(client, 40000, 514)
    assert director.server_of(frame) == servers[0]
    apply(director, AddServer(key, RealServer(key=second)), DeleteServer(key, first))
    for _ in range(4):
        director.wait(1)
        assert director.server_of(frame) == ("pass" if resets else None)
    director.wait(1)
    assert director.server_of(frame) == servers[1]


def test_syns_on_the_same_port_do_not_keep_the_entry_of_a_removed_server(director: Director) -> None:
    start(director)
    assert [send(director, flags) for flags in ("S", "A", "FA")] == [XDP_TX] * 3
    apply(director, AddServer(KEY, RealServer(key=SECOND)), DeleteServer(KEY, FIRST))
    for _ in range(11):
        director.wait(10)
        assert send(director, "S") == XDP_DROP
    (entry,) = director.plane.connections()
    assert entry.state == "FIN_WAIT"
    director.wait(10)
    assert director.server_of(tcp("S", CLIENT, 1000, 80)) == NAMES["rs2"]


def test_connections_go_on_after_a_clear_and_a_restore(director: Director) -> None:
    """`ipvsadm -C; ipvsadm-restore`, as Debian's init script does it: servers come back from the trash."""
    start(director)
    apply(director, AddServer(KEY, RealServer(key=SECOND)))
    went = {port: director.server_of(tcp("S", CLIENT, port, 80)) for port in range(1000, 1004)}
    assert set(went.values()) == {NAMES["rs1"], NAMES["rs2"]}
    rules = director.ipvsadm("-Sn").splitlines()
    director.ipvsadm("-C")
    assert send(director, "A") in (XDP_DROP, XDP_PASS)
    director.setup(rules)
    for port, server in went.items():
        assert director.server_of(tcp("A", CLIENT, port, 80)) == server
