# SPDX-License-Identifier: Apache-2.0
"""Golden 6 over IPv6: ICMPv6 answers and errors, packets that are too big, fragments."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bpf.golden.icmp6 import ANSWERED, ERROR, FRAGMENT
from tests.support.program_run import (
    DIRECTOR_MAC,
    LOOPBACK,
    NAMES,
    SERVERS6,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    answer6_of,
    framed,
    golden,
    ipv6,
    segment,
    tcp,
    udp,
)

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.model.next_hop import NextHop

pytestmark = pytest.mark.root

RECORDED = golden("6_packets")
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDED["cases"]}
SETUP = [line for line in RECORDED["director"]["setup"].splitlines() if "[" in line]
CLIENT, ROUTER = "fd10::1", "fd00:100::1"
UNREACHABLE, TOO_BIG, TIME_EXCEEDED, PARAMETER, ECHO, SOLICITATION = 1, 2, 3, 4, 128, 135
ICMP, FRAGMENTS, UDP, OPTIONS = 58, 44, 17, 60


def sent(name: str) -> bytes:
    return bytes.fromhex(CASES[name]["sent"]["hex"])


def received(name: str) -> list[bytes]:
    return [bytes.fromhex(each["hex"]) for each in CASES[name]["received"]]


def without_label(frame: bytes) -> bytes:
    """The flow label is the sender's to choose."""
    return frame[:15] + frame[18:]


@pytest.fixture
def director() -> Iterator[Director]:
    with Director() as made:
        made.setup(SETUP)
        yield made


def fragment(payload: bytes, offset: int, more: bool, number: int = 7, client: str = CLIENT) -> bytes:
    header = struct.pack("!BBHI", UDP, 0, offset | more, number)
    return framed(client, None, FRAGMENTS, header + payload)


def first(length: int, port: int = 53, number: int = 7, client: str = CLIENT) -> bytes:
    return fragment(udp(client, 1000, port)[54:] + bytes(length - 8), 0, True, number, client)


def error(quoted: bytes, kind: int = TOO_BIG, hops: int = 64) -> bytes:
    return framed(ROUTER, None, ICMP, struct.pack("!BBHI", kind, 0, 0, 1280) + quoted, hops)


def answered(payload: bytes, protocol: int, client: str = CLIENT) -> bytes:
    """Return a packet that a real server has sent to a client."""
    return ipv6(VIP6, client, protocol, payload)


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_are_the_kernels(director: Director, name: str) -> None:
    verdict, frame = director.send(sent(name))
    assert verdict == XDP_TX
    answer6_of(frame)
    assert without_label(frame) == without_label(received(name)[0])


@pytest.mark.parametrize("length", [8, 9, 1183, 1184, 1185, 1400])
def test_an_answer_quotes_as_much_as_fits_1280_bytes(director: Director, length: int) -> None:
    director.ipvsadm(f"-A -u [{VIP6}]:99 -s rr")
    frame = framed(CLIENT, None, UDP, struct.pack("!HHHH", 1000, 99, length, 0) + bytes(range(200)) * 7)
    frame = frame[: 54 + length]
    frame = frame[:18] + length.to_bytes(2) + frame[20:]
    verdict, answer = director.send(frame)
    assert verdict == XDP_TX
    assert answer6_of(answer)[:2] == (UNREACHABLE, 4)
    assert answer6_of(answer)[3] == frame[14:][:1232]


def narrow(director: Director, mtu: int) -> None:
    """The routes to the real servers take no more than this."""
    director.plane.set_next_hops(
        NextHop(ipaddress.ip_address(address), LOOPBACK, DIRECTOR_MAC, mac, mtu=1500, route_mtu=mtu)
        for address, mac in SERVERS6.items()
    )


def test_what_is_too_big_is_answered_with_the_mtu_and_never_limited(director: Director) -> None:
    narrow(director, 1300)
    director.send(tcp("S", CLIENT, 1000, 80))
    frame = framed(CLIENT, None, 6, segment("A", 1000, 80) + bytes(1241))
    for _ in range(20):
        verdict, answer = director.send(frame)
        assert verdict == XDP_TX
        kind, code, mtu, quoted = answer6_of(answer)
        assert (kind, code, mtu, len(answer)) == (TOO_BIG, 0, 1300, 14 + 1280)
        assert quoted == frame[14:21] + bytes((frame[21] - 1,)) + frame[22 : 14 + 1232]
    assert director.exits() == {"too_big": 20}
    fits = framed(CLIENT, None, 6, segment("A", 1000, 80) + bytes(1240))
    assert director.send(fits)[1][:6] in SERVERS6.values()


def test_the_limits_of_answers(director: Director) -> None:
    """The limits are those of IPv4: six to one client at once, then one a second."""
    went = [director.server_of(tcp("S", CLIENT, 1000 + number, 81)) for number in range(12)]
    assert went == ["refused"] * 6 + [None] * 6
    assert director.exits() == {"no_destination": 12, "unanswered": 6}
    director.plane.tables.control.now += 2
    assert [director.server_of(tcp("S", CLIENT, 2000 + number, 81)) for number in range(3)] == [
        "refused", "refused", None,
    ]  # fmt: skip
    assert director.server_of(tcp("S", "fd10::2", 1000, 81)) == "refused"


def test_an_error_goes_to_the_connections_server(director: Director) -> None:
    mac = director.send(tcp("S", CLIENT, 1000, 80))[1][:6]
    before = [(item.state, item.expires) for item in director.plane.connections()]
    director.plane.tables.control.now += 5
    assert director.send(sent(ERROR)) == (XDP_TX, mac + received(ERROR)[0][6:])
    assert [(item.state, item.expires + 5) for item in director.plane.connections()] == before


@pytest.mark.parametrize("kind", [UNREACHABLE, TOO_BIG, TIME_EXCEEDED, PARAMETER])
@pytest.mark.parametrize("headers", [b"", bytes(8), struct.pack("!BBHI", UDP, 0, 1, 9)])
def test_every_error_about_a_datagram_is_relayed(director: Director, kind: int, headers: bytes) -> None:
    """Also one that quotes options or a first fragment, and no more than the ports behind them."""
    mac = director.send(udp(CLIENT, 1000, 53))[1][:6]
    datagram = struct.pack("!HH", 53, 1000)
    following = UDP
    if headers:
        following = FRAGMENTS if headers[0] else OPTIONS
        headers = bytes((UDP,)) + headers[1:]
    frame = error(answered(headers + datagram, following), kind)
    verdict, relayed = director.send(frame)
    assert (verdict, relayed[:6], relayed[22:]) == (XDP_TX, mac, frame[22:])


@pytest.mark.parametrize(
    "frame",
    [
        error(answered(segment("A", 80, 1000), 6), ECHO),
        error(answered(segment("A", 80, 1000), 6), SOLICITATION),
        error(answered(segment("A", 80, 1000)[:3], 6)),
        error(answered(segment("A", 80, 1000), 6, "fd10::99")),
        error(answered(struct.pack("!BBHI", 6, 0, 8, 9) + bytes(20), FRAGMENTS)),
        error(ipv6(CLIENT, VIP6, 6, segment("A", 1000, 80))),
        error(b"\x45" + answered(segment("A", 80, 1000), 6)[1:]),
        error(answered(segment("A", 80, 1000), 6))[:70],
    ],
    ids=["echo", "neighbour", "short", "unknown", "later fragment", "forward", "version", "cut"],
)
def test_what_is_no_error_about_a_connection_is_left_to_the_stack(director: Director, frame: bytes) -> None:
    director.send(tcp("S", CLIENT, 1000, 80))
    assert director.send(frame) == (XDP_PASS, frame)


def test_an_error_whose_own_hop_limit_is_used_up_is_dropped_and_not_answered(director: Director) -> None:
    director.send(tcp("S", CLIENT, 1000, 80))
    assert director.send(error(answered(segment("A", 80, 1000), 6), hops=1))[0] == XDP_DROP
    assert director.exits() == {"ttl_exceeded": 1}


def test_errors_without_a_connection_are_scheduled_on_request(director: Director) -> None:
    director.plane.tune({"schedule_icmp": 1})
    assert director.server_of(error(answered(segment("A", 80, 4322), 6))) in SERVERS6
    assert [(item.client_port, item.state) for item in director.plane.connections()] == [(4322, "NONE")]


def test_later_fragments_follow_the_first(director: Director) -> None:
    second = sent(FRAGMENT)
    number = int.from_bytes(second[58:62])
    client = str(ipaddress.ip_address(second[22:38]))
    assert director.send(second) == (XDP_PASS, second)
    went = [director.send(frame) for frame in (first(800, number=number, client=client), second)]
    assert [verdict for verdict, _ in went] == [XDP_TX, XDP_TX]
    assert went[0][1][:6] == went[1][1][:6]
    # The kernel puts together and takes apart again, at other places if it likes.
    assert went[1][1][6:22] == received(FRAGMENT)[1][6:22]
    assert went[1][1][22:] == second[22:]
    assert director.exits() == {"fragment": 1}
    counted = [item.traffic for item in director.plane.counters().services if item.traffic.packets]
    assert [(item.connections, item.packets) for item in counted] == [(1, 2)]


def test_fragments_are_forgotten_and_do_not_mix(director: Director) -> None:
    later = fragment(bytes(64), 800, False)
    director.send(first(800))
    director.plane.tables.control.now += 29
    assert director.send(later)[0] == XDP_TX
    for other in (fragment(bytes(64), 800, False, 8), fragment(bytes(64), 800, False, client="fd10::2")):
        assert director.send(other)[0] == XDP_PASS
    director.plane.tables.control.now += 1
    assert director.send(later)[0] == XDP_PASS
    assert director.exits() == {"fragment": 3}


def test_fragments_of_a_refused_packet_are_dropped(director: Director) -> None:
    director.setup(
        [f"-d -u [{VIP6}]:53 -r [fd00:100::{address[-2:]}]:53" for address in list(NAMES.values())[:3]]
    )
    verdict, answer = director.send(first(800))
    assert (verdict, answer6_of(answer)[:2]) == (XDP_TX, (UNREACHABLE, 4))
    assert director.send(fragment(bytes(64), 800, False))[0] == XDP_DROP


GSO_SIZE = 176
"""Offset of the field in struct __sk_buff."""


@pytest.mark.parametrize(("size", "fits"), [(0, False), (940, True), (941, False)])
def test_what_offload_has_joined_is_measured_by_its_segments(
    director: Director, size: int, fits: bool
) -> None:
    director.plane.set_next_hops(
        NextHop(ipaddress.ip_address(address), LOOPBACK, DIRECTOR_MAC, mac, mtu=1000)
        for address, mac in SERVERS6.items()
    )
    director.send(tcp("S", CLIENT, 1000, 80))
    frame = framed(CLIENT, None, 6, segment("A", 1000, 80) + bytes(1400))
    program = director.plane.programs["direct_tc"]
    context = bytes(GSO_SIZE) + size.to_bytes(4, "little")
    left = libbpf.run_program(program, frame, context=context).data
    assert (left[:6] in SERVERS6.values()) == fits
    if not fits:
        assert answer6_of(left)[:3] == (TOO_BIG, 0, 1000)
