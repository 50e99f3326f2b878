# SPDX-License-Identifier: Apache-2.0
"""Segments that offload has joined to more than 65535 bytes (BIG TCP): small frames with the same header."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest
from tests.support.program_run import (
    DIRECTOR_MAC,
    NAMES,
    ROUTER_MAC,
    SERVERS,
    SERVERS6,
    TC_VERDICTS,
    VIP,
    VIP6,
    XDP_PASS,
    XDP_TX,
    Director,
    checksum,
    framed,
    ipv6,
    segment,
    tcp,
)

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.model.service import ServiceKey, Transport

pytestmark = pytest.mark.root
CLIENT, CLIENT6 = "10.3.0.1", "fd00::3"
GSO_SIZE = 176
"""Offset of the field in struct __sk_buff."""
PAYLOAD = bytes(1400)
JUMBO = struct.pack("!BBBBI", 6, 0, 0xC2, 4, 8 + 20 + len(PAYLOAD))
"""A hop-by-hop header with a jumbo payload option: the kernel adds it to such packets (ip6_xmit)."""


@pytest.fixture
def director() -> Iterator[Director]:
    with Director() as made:
        for vip, server in ((VIP, NAMES["rs1"]), (f"[{VIP6}]", f"[{next(iter(SERVERS6))}]")):
            made.setup([f"-A -t {vip}:80 -s rr", f"-a -t {vip}:80 -r {server}:80"])
        for client in (CLIENT, CLIENT6):
            for flags in ("S", "A"):
                assert made.send(tcp(flags, client, 1000, 80))[0] == XDP_TX
        yield made


def big4() -> bytes:
    frame = bytearray(framed(CLIENT, None, 6, segment("A", 1000, 80) + PAYLOAD))
    frame[16:18] = frame[24:26] = bytes(2)
    frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2)
    return bytes(frame)


def big6(protocol: int, between: bytes) -> bytes:
    packet = bytearray(ipv6(CLIENT6, VIP6, protocol, between + segment("A", 1000, 80) + PAYLOAD))
    packet[4:6] = bytes(2)
    return DIRECTOR_MAC + ROUTER_MAC + b"\x86\xdd" + bytes(packet)


def key_of(vip: str) -> ServiceKey:
    return ServiceKey.of(Transport.TCP, ipaddress.ip_address(vip), 80)


def send(director: Director, frame: bytes, joined: int) -> tuple[int, bytes]:
    context = bytes(GSO_SIZE) + joined.to_bytes(4, "little")
    result = libbpf.run_program(director.plane.programs["direct_tc"], frame, context=context)
    return TC_VERDICTS[result.verdict], result.data


@pytest.mark.parametrize(
    ("frame", "servers", "key", "headers"),
    [
        (big4(), SERVERS, key_of(VIP), 20),
        (big6(0, JUMBO), SERVERS6, key_of(VIP6), 40),
        (big6(6, b""), SERVERS6, key_of(VIP6), 40),
    ],
    ids=["4", "6", "6 without the option"],
)
def test_a_packet_that_is_longer_than_its_header_can_tell_goes_on(
    director: Director, frame: bytes, servers: dict[str, bytes], key: ServiceKey, headers: int
) -> None:
    verdict, sent = send(director, frame, 1000)
    assert (verdict, sent[:6]) == (XDP_TX, next(iter(servers.values())))
    assert sent[34:] == frame[34:]
    assert director.exits() == {}
    (server,) = director.plane.counters().of(key).servers
    assert server.traffic.octets == 2 * (len(segment("A", 1, 1)) + headers) + len(frame) - 14


@pytest.mark.parametrize("frame", [big4(), big6(6, b"")], ids=["4", "6"])
def test_without_joined_segments_no_length_is_malformed(director: Director, frame: bytes) -> None:
    assert send(director, frame, 0) == (XDP_PASS, frame)
    assert director.exits() == {"malformed": 1}
