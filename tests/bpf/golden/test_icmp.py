# SPDX-License-Identifier: Apache-2.0
"""Golden 6: ICMP answers and errors, MTU and fragments, byte by byte."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from tests.bpf.golden.icmp import (
    ANSWERED,
    ERROR_OF_UDP,
    ERROR_SCHEDULED,
    ERROR_WITH_TTL_1,
    ERRORS,
    ERRORS_TO_THE_STACK,
    FRAGMENTS,
    TOO_BIG,
    TOO_BIG_WITHOUT_DF,
    TTL_OF_A_CONNECTION,
)
from tests.support.program_run import (
    DIRECTOR_MAC,
    LOOPBACK,
    NAMES,
    SERVERS,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    answer_of,
    checksum,
    golden,
    ipv4,
    tcp,
    udp,
)

from pointsman.model.next_hop import NextHop

pytestmark = pytest.mark.root

RECORDED = golden("6_packets")
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDED["cases"]}
SETUP = [line for line in RECORDED["director"]["setup"].splitlines() if line and "[" not in line]

TCP_CLIENT, UDP_CLIENT = ("10.6.7.1", 1000, 80), ("10.6.7.2", 1000, 53)
"""The servers that the inner packets of the recorded errors went to."""


def sent(name: str) -> bytes:
    return bytes.fromhex(CASES[name]["sent"]["hex"])


def received(name: str) -> list[bytes]:
    return [bytes.fromhex(each["hex"]) for each in CASES[name]["received"]]


def without_id(frame: bytes) -> bytes:
    """The IP identification, and the checksum over it, are the sender's to choose."""
    return frame[:18] + frame[20:24] + frame[26:]


def server_mac(frame: bytes) -> bytes:
    assert frame[:6] in SERVERS.values()
    return frame[:6]


@pytest.fixture
def director() -> Any:
    with Director() as made:
        made.setup(SETUP)
        yield made


def check_answer(director: Director, name: str) -> None:
    verdict, frame = director.send(sent(name))
    assert verdict == XDP_TX
    answer_of(frame)
    assert without_id(frame) == without_id(received(name)[0])


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_are_the_kernels(director: Director, name: str) -> None:
    check_answer(director, name)
    assert "unanswered" not in director.exits()


def test_a_connection_whose_ttl_runs_out_is_told_and_counted(director: Director) -> None:
    facts = CASES[TTL_OF_A_CONNECTION]["sent"]
    director.send(tcp("S", facts["src"], facts["sport"], facts["dport"]))
    check_answer(director, TTL_OF_A_CONNECTION)
    director.send(sent("SYN with TTL 0"))
    assert director.exits() == {"ttl_exceeded": 2}
    assert len(list(director.plane.connections())) == 2
    assert director.plane.counters().services[0].traffic.packets == 3


def narrow(director: Director, mtu: int) -> None:
    """The routes to the real servers take no more than this."""
    director.plane.set_next_hops(
        NextHop(ipaddress.ip_address(address), LOOPBACK, DIRECTOR_MAC, mac, mtu=1500, route_mtu=mtu)
        for address, mac in SERVERS.items()
    )


def test_too_big(director: Director) -> None:
    narrow(director, 1000)
    facts = CASES[TOO_BIG]["sent"]
    director.send(tcp("S", facts["src"], facts["sport"], facts["dport"]))
    check_answer(director, TOO_BIG)
    assert director.exits() == {"too_big": 1}
    narrow(director, 1200)
    assert director.send(sent(TOO_BIG))[1][:6] in SERVERS.values()


def test_too_big_without_df_is_answered_all_the_same(director: Director) -> None:
    """A difference: IPVS has it taken apart. The answer makes the sender do that."""
    narrow(director, 1000)
    facts = CASES[TOO_BIG_WITHOUT_DF]["sent"]
    director.send(tcp("S", facts["src"], facts["sport"], facts["dport"]))
    verdict, frame = director.send(sent(TOO_BIG_WITHOUT_DF))
    assert verdict == XDP_TX
    assert answer_of(frame)[:3] == (3, 4, 1000)


def connect(director: Director) -> tuple[bytes, bytes]:
    """The MAC addresses of the servers of the TCP and the UDP client."""
    director.send(tcp("S", *TCP_CLIENT))
    return server_mac(director.send(tcp("A", *TCP_CLIENT))[1]), server_mac(director.send(udp(*UDP_CLIENT))[1])


@pytest.mark.parametrize("name", [*ERRORS, ERROR_OF_UDP])
def test_errors_go_to_the_connections_server(director: Director, name: str) -> None:
    mac = connect(director)[name == ERROR_OF_UDP]
    before = [(item.state, item.expires) for item in director.plane.connections()]
    director.plane.tables.control.now += 5
    assert director.send(sent(name)) == (XDP_TX, mac + received(name)[0][6:])
    after = [(item.state, item.expires) for item in director.plane.connections()]
    assert after == [(state, expires - 5) for state, expires in before]


def test_errors_are_counted_as_packets_of_the_connection(director: Director) -> None:
    connect(director)
    before = director.plane.counters().services[0].traffic
    director.send(sent(ERRORS[0]))
    after = director.plane.counters().services[0].traffic
    assert (after.packets - before.packets, after.octets - before.octets) == (1, 56)


@pytest.mark.parametrize("name", ERRORS_TO_THE_STACK)
def test_other_errors_are_left_to_the_stack(director: Director, name: str) -> None:
    connect(director)
    assert director.send(sent(name)) == (XDP_PASS, sent(name))


def test_errors_about_unknown_connections_are_left_to_the_stack(director: Director) -> None:
    assert director.send(sent(ERRORS[0])) == (XDP_PASS, sent(ERRORS[0]))
    assert director.exits() == {"no_connection": 1}
    assert not list(director.plane.connections())


def test_an_error_whose_own_ttl_runs_out_is_dropped_and_not_answered(director: Director) -> None:
    connect(director)
    assert director.send(sent(ERROR_WITH_TTL_1))[0] == XDP_DROP
    assert director.exits() == {"ttl_exceeded": 1}


def test_errors_without_a_connection_are_scheduled_on_request(director: Director) -> None:
    director.plane.tune({"schedule_icmp": 1})
    verdict, frame = director.send(sent(ERROR_SCHEDULED))
    assert (verdict, frame[6:]) == (XDP_TX, received(ERROR_SCHEDULED)[0][6:])
    assert server_mac(frame)
    assert [(item.client_port, item.state) for item in director.plane.connections()] == [(4322, "NONE")]


def first_of(second: bytes, payload: int) -> bytes:
    """The frame that was sent before a recorded second fragment: `payload` bytes of a datagram to VIP:53."""
    source = str(ipaddress.ip_address(second[26:30]))
    datagram = udp(source, 1000, 53)[34:] + bytes(payload - 8)
    packet = ipv4(source, "192.168.100.9", 17, datagram, fragment=0x2000)
    header = bytearray(packet[:20])
    header[4:6] = second[18:20]
    return second[:14] + with_checksum(bytes(header)) + packet[20:]


def with_checksum(header: bytes) -> bytes:
    bare = header[:10] + b"\0\0" + header[12:]
    return bare[:10] + checksum(bare).to_bytes(2) + bare[12:]


def test_later_fragments_follow_the_first(director: Director) -> None:
    for first, second in (
        (sent(FRAGMENTS[0]), sent(FRAGMENTS[1])),
        (first_of(sent(FRAGMENTS[2]), 1480), sent(FRAGMENTS[2])),
        (sent(FRAGMENTS[6]), sent(FRAGMENTS[7])),
    ):
        went = [director.send(frame) for frame in (first, second)]
        assert [verdict for verdict, _ in went] == [XDP_TX, XDP_TX]
        assert went[0][1][:6] == went[1][1][:6]
        for (_, frame), before in zip(went, (first, second), strict=True):
            assert frame[6:12] == DIRECTOR_MAC
            assert frame[22] == before[22] - 1
            assert frame[26:] == before[26:]
    assert director.exits() == {}
    # The kernel puts together and takes apart again; for the UDP packet the same frames come out of it.
    name = FRAGMENTS[2]
    assert director.send(sent(name))[1][6:] == received(name)[1][6:]


def test_a_fragment_that_comes_before_the_first_is_left_to_the_stack(director: Director) -> None:
    """A difference: IPVS waits for the first one."""
    early, first = FRAGMENTS[3:5]
    assert director.send(sent(early)) == (XDP_PASS, sent(early))
    assert director.send(sent(first))[0] == XDP_TX
    assert director.send(sent(early))[0] == XDP_TX
    assert director.send(sent(FRAGMENTS[5]))[0] == XDP_PASS
    assert director.exits() == {"fragment": 2}


def test_fragments_are_forgotten_and_do_not_mix(director: Director) -> None:
    first, second = first_of(sent(FRAGMENTS[2]), 1480), sent(FRAGMENTS[2])
    director.send(first)
    director.plane.tables.control.now += 29
    assert director.send(second)[0] == XDP_TX
    for place, value in (
        (18, 99),
        (26, 11),
        (30, 193),
    ):  # another id, source, target; the checksum is checked
        other = bytearray(second)
        other[place] = value
        other[14:34] = with_checksum(bytes(other[14:34]))
        assert director.send(bytes(other))[0] == XDP_PASS
    assert director.exits() == {"fragment": 3}
    director.plane.tables.control.now += 1
    assert director.send(second)[0] == XDP_PASS


def test_fragments_of_a_refused_packet_are_dropped(director: Director) -> None:
    director.setup([f"-d -u 192.168.100.9:53 -r {NAMES[name]}:53" for name in ("rs1", "rs2", "rs3")])
    first, second = first_of(sent(FRAGMENTS[2]), 1480), sent(FRAGMENTS[2])
    verdict, frame = director.send(first)
    assert (verdict, len(frame)) == (XDP_TX, 14 + 576)
    assert answer_of(frame)[:2] == (3, 3)
    assert director.send(second)[0] == XDP_DROP


def test_the_limits_of_answers(director: Director) -> None:
    """A client gets six replies at once, then one a second; twelve clients get theirs at once."""
    recorded = RECORDED["ttl_and_counting"]
    one = recorded[
        "ICMP limit: answers to 12 SYNs of one client to the service without servers, sent at once"
    ]
    went = [director.server_of(tcp("S", "10.6.12.1", 1000 + number, 81)) for number in range(12)]
    assert [each == "refused" for each in went] == [each is not None for each in one]
    assert director.exits() == {"no_destination": 12, "unanswered": 6}
    director.plane.tables.control.now += 2
    went = [director.server_of(tcp("S", "10.6.12.1", 1100 + number, 81)) for number in range(3)]
    assert went == ["refused", "refused", None]
    many = [director.server_of(tcp("S", f"10.6.13.{number}", 1000, 81)) for number in range(12)]
    assert [each == "refused" for each in many] == [
        each is not None for each in recorded["... 12 clients, one SYN each"]
    ]


def test_answers_to_all_are_limited(director: Director) -> None:
    """Limit replies as the kernel does (icmp_msgs_per_sec, icmp_msgs_burst): a SYN flood causes no flood."""
    flood = [tcp("S", f"10.7.{number >> 8}.{number & 255}", 1000, 81) for number in range(3000)]
    went = [director.server_of(frame) for frame in flood]
    refused = went.count("refused")
    assert went[:50].count("refused") == 50
    assert went.count(None) == 3000 - refused
    assert 50 <= refused < 3000


@pytest.mark.parametrize("source", ["224.0.0.1", "127.0.0.1", "255.255.255.255", "0.1.2.3"])
def test_nobody_at_an_impossible_address_is_answered(director: Director, source: str) -> None:
    assert director.send(tcp("S", source, 1000, 81))[0] == XDP_DROP
    assert director.exits() == {"no_destination": 1, "unanswered": 1}
