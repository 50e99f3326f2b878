# SPDX-License-Identifier: Apache-2.0
"""IPv6 where it is not IPv4 with longer addresses: extension headers, prefixes, tables, random frames."""

from __future__ import annotations

import random
import struct

import pytest
from tests.support.program_run import (
    DIRECTOR_MAC,
    ROUTER_MAC,
    SERVERS6,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    answer6_of,
    framed,
    segment,
    tcp,
    udp,
)

from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import Sizes

pytestmark = pytest.mark.root

NAMES = {f"rs{n}": f"fd00:100::{10 + n}" for n in range(1, 6)}
RR = [
    f"-A -t [{VIP6}]:80 -s rr",
    *(f"-a -t [{VIP6}]:80 -r [{NAMES[name]}]:80 -g" for name in ("rs1", "rs2", "rs3")),
]
CLIENT = "2001:db8::77"
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS = 0, 43, 44, 51, 60
TINY = Sizes(connections=8, connections6=8, templates=8, services=16, dests=64, members=256)


def client(number: int) -> str:
    return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"


def extended(*headers: tuple[int, bytes], transport: bytes = b"", protocol: int = 6) -> bytes:
    """A frame whose extension headers come in this order; of each the bytes after `next header`."""
    payload, following = transport or segment("S", 1000, 80), protocol
    for kind, rest in reversed(headers):
        payload, following = bytes((following,)) + rest + payload, kind
    return framed(CLIENT, None, following, payload)


EMPTY = bytes(7)
LONG = b"\x02" + bytes(22)
AUTHENTICATED = b"\x04" + bytes(22)
WHOLE = b"\0" + struct.pack("!HI", 0, 77)
FIRST = b"\0" + struct.pack("!HI", 1, 77)
SECOND = b"\0" + struct.pack("!HI", 8, 77)


@pytest.mark.parametrize(
    "headers",
    [
        [(OPTIONS, EMPTY)],
        [(HOP_BY_HOP, EMPTY), (OPTIONS, LONG)],
        [(ROUTING, LONG), (OPTIONS, EMPTY)],
        [(AUTHENTICATION, AUTHENTICATED)],
        [(FRAGMENT, WHOLE)],
        [(HOP_BY_HOP, EMPTY), (OPTIONS, EMPTY), (ROUTING, LONG), (FRAGMENT, WHOLE), (OPTIONS, EMPTY)],
    ],
    ids=lambda headers: "-".join(str(kind) for kind, _ in headers),
)
def test_the_ports_are_found_behind_extension_headers(headers: list[tuple[int, bytes]]) -> None:
    with Director() as director:
        director.setup(RR)
        frame = extended(*headers)
        verdict, sent = director.send(frame)
        assert (verdict, sent[:6]) == (XDP_TX, SERVERS6[NAMES["rs3"]])
        check_rewritten(frame, sent)
        (connection,) = director.plane.connections()
        assert (connection.client_port, connection.state) == (1000, "SYN_RECV")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (extended((OPTIONS, EMPTY), (FRAGMENT, FIRST)), "fragment"),
        (extended((FRAGMENT, FIRST), (OPTIONS, EMPTY)), "not_transport"),
        (extended((FRAGMENT, SECOND)), "fragment"),
        (extended((OPTIONS, b"\xff" + bytes(6))), "not_transport"),
        (extended(*[(OPTIONS, EMPTY)] * 7), "not_transport"),
        (extended((OPTIONS, b"\x1e" + bytes(6))), "malformed"),
        (extended(protocol=50), "not_transport"),
        (tcp("S", CLIENT, 1000, 80)[:60], "malformed"),
        (extended(transport=segment("S", 1000, 80)[:12]), "malformed"),
        (tcp("S", "::", 1000, 80), "malformed"),
        (tcp("S", "ff02::1", 1000, 80), "malformed"),
        (DIRECTOR_MAC + ROUTER_MAC + b"\x88\x8e" + bytes(60), "not_ip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "frame",
)
def test_what_cannot_be_forwarded_is_passed_on_unchanged_and_counted(frame: bytes, reason: str) -> None:
    with Director() as director:
        director.setup(RR)
        assert director.send(frame) == (XDP_PASS, frame)
        assert director.exits() == {reason: 1}
        assert not list(director.plane.connections())


def test_a_service_of_every_port_and_one_of_datagrams() -> None:
    with Director() as director:
        director.setup(
            [
                f"-A -t [{VIP6}]:0 -s rr -p 60",
                f"-a -t [{VIP6}]:0 -r [{NAMES['rs1']}]:0 -g",
                f"-A -u [{VIP6}]:53 -s rr",
                f"-a -u [{VIP6}]:53 -r [{NAMES['rs2']}]:53 -g",
            ]
        )
        assert director.server_of(tcp("S", CLIENT, 1000, 4711)) == NAMES["rs1"]
        assert director.server_of(udp(CLIENT, 1000, 53)) == NAMES["rs2"]
        assert director.server_of(udp(CLIENT, 1000, 54)) == "pass"


def test_ports_and_addresses_keep_their_connections_apart() -> None:
    """Clients with the same ports: addresses that differ in one half only are different clients."""
    with Director() as director:
        director.setup(RR)
        sources = ["2001:db8::1", "2001:db8::2", "2001:db9::1", "::2001:db8:0:1"]
        went = {(source, port): director.server_of(tcp("S", source, port, 80)) for source in sources
                for port in (1000, 1001)}  # fmt: skip
        assert len(list(director.plane.connections())) == 8
        for (source, port), server in went.items():
            assert director.server_of(tcp("A", source, port, 80)) == server
        assert {item.state for item in director.plane.connections()} == {"ESTABLISHED"}


def test_connections_and_templates_end_with_their_time() -> None:
    with Director() as director:
        director.setup([f"-A -t [{VIP6}]:80 -s rr -p 30 -M 48", RR[1]])
        for flags in ("S", "A"):
            director.send(tcp(flags, "2001:db8:1:2::3", 1000, 80))
        director.send(tcp("S", "2001:db8:1:ffff::3", 1001, 80))
        listed = {(str(item.client), item.client_port) for item in director.plane.connections()}
        assert listed == {("2001:db8:1::", 0), ("2001:db8:1:2::3", 1000), ("2001:db8:1:ffff::3", 1001)}
        director.wait(61)
        assert {item.client_port for item in director.plane.connections()} == {0, 1000}
        director.wait(901)
        assert not list(director.plane.connections())
        (service,) = director.plane.counters().services
        assert [(each.active, each.inactive, each.persistent) for each in service.servers] == [(0, 0, 0)]


@pytest.mark.parametrize(("prefix", "one", "other", "same"), [
    (64, "2001:db8::1", "2001:db8::8000:0:0:1", True),
    (64, "2001:db8::1", "2001:db8:0:1::1", False),
    (65, "2001:db8::1", "2001:db8::8000:0:0:1", False),
    (128, "2001:db8::1", "2001:db8::", False),
    (1, "2001:db8::1", "3001::1", True),
    (1, "2001:db8::1", "9001::1", False),
])  # fmt: skip
def test_persistence_goes_by_the_prefix(prefix: int, one: str, other: str, same: bool) -> None:
    with Director() as director:
        director.setup([f"-A -t [{VIP6}]:80 -s rr -p 60 -M {prefix}", *RR[1:]])
        first, second = (director.server_of(tcp("S", source, 1000, 80)) for source in (one, other))
        assert (first == second) is same


def test_a_full_table_serves_by_hash_and_leaves_ipv4_alone() -> None:
    with Director(TINY) as director:
        director.setup(RR)
        went = {number: director.server_of(tcp("S", client(number), 1000, 80)) for number in range(1, 101)}
        entries = len(list(director.plane.connections()))
        assert director.exits() == {"table_full": 100 - entries}
        assert set(went.values()) == {NAMES["rs1"], NAMES["rs2"], NAMES["rs3"]}
        for number, server in went.items():
            assert director.server_of(tcp("A", client(number), 1000, 80)) == server


def test_a_store_rebuilt_from_the_maps_is_the_same_and_goes_on() -> None:
    with Director() as director:
        director.setup([*RR, f"-A -u [{VIP6}]:53 -s mh -p 60 -M 56", f"-a -u [{VIP6}]:53 -r {NAMES['rs2']}"])
        director.send(tcp("S", CLIENT, 1000, 80))
        before, plane = director.plane.read(), director.plane
        plane.store = Store(plane.tables, plane._words)
        assert plane.read() == before
        director.setup([f"-d -t [{VIP6}]:80 -r [{NAMES['rs3']}]:80"])
        assert director.send(tcp("A", CLIENT, 1000, 80))[0] == XDP_DROP
        director.setup([f"-D -t [{VIP6}]:80"])
        assert director.send(tcp("S", CLIENT, 1001, 80))[0] == XDP_PASS


def test_many_services_are_found_and_can_go() -> None:
    with Director() as director:
        addresses = [f"fd00:{n:x}::{n:x}" for n in range(1, 61)]
        for address in addresses:
            director.setup([f"-A -t [{address}]:80 -s rr", f"-a -t [{address}]:80 -r [{NAMES['rs1']}]:80 -g"])
        for address in addresses:
            assert director.server_of(tcp("S", CLIENT, 1000, 80, target=address)) == NAMES["rs1"]
        for address in addresses[::2]:
            director.ipvsadm(f"-D -t [{address}]:80")
        went = {director.server_of(tcp("S", CLIENT, 1001, 80, target=address)) for address in addresses[1::2]}
        assert went == {NAMES["rs1"]}


def check_rewritten(frame: bytes, sent: bytes) -> None:
    """Check that only both MAC addresses and the hop limit have changed."""
    assert len(sent) == len(frame)
    assert sent[:6] in SERVERS6.values()
    assert sent[6:12] == DIRECTOR_MAC
    assert sent[12:21] == frame[12:21]
    assert sent[21] == frame[21] - 1
    assert sent[22:] == frame[22:]


def check_answer(frame: bytes, sent: bytes) -> None:
    """Its hop limit is used up."""
    kind, code, _, quoted = answer6_of(sent)
    assert (kind, code, frame[21] <= 1) == (3, 0, True)
    assert frame[14:].startswith(quoted)


def mutated(generator: random.Random) -> bytes:
    """A frame that was right: with other bytes, shorter, longer, or with something in between."""
    headers = [
        generator.choice([(OPTIONS, EMPTY), (HOP_BY_HOP, LONG), (FRAGMENT, WHOLE), (AUTHENTICATION, LONG)])
        for _ in range(generator.choice((0, 0, 0, 1, 2, 4, 7)))
    ]
    frame = bytearray(extended(*headers, transport=segment(generator.choice("SAFR"), 1000, 80)))
    frame[21] = generator.choice((64, 64, 64, 1))
    for _ in range(generator.randrange(4)):
        frame[generator.randrange(12, len(frame))] = generator.randrange(256)
    if generator.random() < 0.2:
        del frame[generator.randrange(14, len(frame)) :]
    elif generator.random() < 0.2:
        frame += bytes(generator.randrange(40))
    return bytes(frame)


def test_mutated_frames_pass_unchanged_or_leave_with_only_the_allowed_bytes_changed() -> None:
    generator = random.Random(20261123)
    seen = set[int]()
    with Director() as director:
        director.setup(RR)
        for _ in range(20000):
            frame = mutated(generator)
            verdict, sent = director.send(frame)
            seen.add(verdict)
            if verdict == XDP_TX and sent[:6] == ROUTER_MAC:
                check_answer(frame, sent)
            elif verdict == XDP_TX:
                check_rewritten(frame, sent)
            else:
                assert verdict == XDP_PASS or frame[21] <= 1  # too many of them to answer all
                assert sent == frame
    assert seen == {XDP_PASS, XDP_TX, XDP_DROP}
