# SPDX-License-Identifier: Apache-2.0
"""VRRP bytes against captures and against everything that may be wrong with them."""

from __future__ import annotations

import ipaddress
import struct

import msgspec
import pytest

from pointsman.packets.checksum import internet_checksum
from pointsman.packets.errors import WireError
from pointsman.vrrp.wire import (
    GROUP,
    NO_AUTHENTICATION,
    PASS,
    Advert,
    ChecksumForm,
    decode,
    decode_ipv4,
    encode,
    password_bytes,
)

MASTER = ipaddress.IPv4Address("10.9.0.1")
PEER = ipaddress.IPv4Address("10.9.0.2")
VIP = ipaddress.IPv4Address("10.9.0.100")

V2 = Advert(
    version=2,
    virtual_router_id=51,
    priority=200,
    interval=100,
    addresses=(VIP,),
    authentication_type=PASS,
    password=b"generate",
)
V2_BYTES = bytes.fromhex("2133c80101014ecb0a09006467656e6572617465")
"""Captured from keepalived 2.2.7 with auth_pass generate-a-pasword."""
V3 = Advert(version=3, virtual_router_id=7, priority=100, interval=10, addresses=(VIP,))


def with_checksum(data: bytes, checksum: int) -> bytes:
    return data[:6] + struct.pack("!H", checksum) + data[8:]


def ipv4(payload: bytes, ttl: int = 255, protocol: int = 112, total: int | None = None) -> bytes:
    length = 20 + len(payload) if total is None else total
    head = (0x45, 0xC0, length, 1, 0, ttl, protocol, 0, MASTER.packed, GROUP.packed)
    return struct.pack("!BBHHHBBH4s4s", *head) + payload


def test_version_2_with_password_is_keepalived_s_bytes() -> None:
    assert encode(V2, MASTER, PEER) == V2_BYTES
    assert decode(V2_BYTES, MASTER, PEER) == V2


def test_only_eight_bytes_of_a_password_travel() -> None:
    assert password_bytes("generate-a-pasword") == b"generate"
    assert password_bytes("abc") == b"abc\0\0\0\0\0"


def test_version_2_always_carries_authentication_data() -> None:
    plain = Advert(version=2, virtual_router_id=1, priority=1, interval=100, addresses=(VIP,))
    assert len(encode(plain, MASTER, GROUP)) == 8 + 4 + 8
    assert decode(encode(plain, MASTER, GROUP), MASTER, GROUP).authentication_type == NO_AUTHENTICATION


def test_version_3_is_sent_with_the_pseudo_header_of_its_real_destination() -> None:
    data = encode(V3, MASTER, PEER)
    pseudo = MASTER.packed + PEER.packed + struct.pack("!BBH", 0, 112, len(data))
    assert internet_checksum(pseudo + data) == 0
    assert struct.unpack("!H", data[4:6])[0] == 10


@pytest.mark.parametrize(
    ("pseudo_destination", "form"),
    [(PEER, ChecksumForm.PSEUDO_HEADER), (GROUP, ChecksumForm.GROUP), (None, ChecksumForm.BARE)],
    ids=["RFC 5798", "old keepalived", "RFC 9568"],
)
def test_version_3_is_read_and_written_in_every_checksum_form(
    pseudo_destination: ipaddress.IPv4Address | None, form: ChecksumForm
) -> None:
    data = with_checksum(encode(V3, MASTER, PEER), 0)
    pseudo = b""
    if pseudo_destination is not None:
        pseudo = MASTER.packed + pseudo_destination.packed + struct.pack("!BBH", 0, 112, len(data))
    sent = with_checksum(data, internet_checksum(pseudo + data))
    expected = msgspec.structs.replace(V3, form=form)
    assert decode(sent, MASTER, PEER) == expected
    assert encode(expected, MASTER, PEER) == sent


def test_version_3_of_ipv6() -> None:
    source, group = ipaddress.IPv6Address("fe80::1"), ipaddress.IPv6Address("ff02::12")
    advert = Advert(
        version=3,
        virtual_router_id=9,
        priority=255,
        interval=4095,
        addresses=(ipaddress.IPv6Address("fe80::99"), ipaddress.IPv6Address("2001:db8::1")),
    )
    data = encode(advert, source, group)
    assert len(data) == 8 + 32
    assert decode(data, source, group) == advert
    with pytest.raises(WireError, match="checksum"):
        decode(data, source, ipaddress.IPv6Address("ff02::13"))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "too few"),
        (V2_BYTES[:7], "too few"),
        (V2_BYTES[:-1], "19 bytes, but 1 addresses make 20"),
        (V2_BYTES + b"\0", "21 bytes, but 1 addresses make 20"),
        (b"\x41" + V2_BYTES[1:], "version 4"),
        (b"\x22" + V2_BYTES[1:], "type 2"),
        (V2_BYTES[:1] + b"\0" + V2_BYTES[2:], "virtual router id 0"),
        (V2_BYTES[:2] + b"\xc9" + V2_BYTES[3:], "wrong checksum"),
        (V2_BYTES[:3] + b"\xff" + V2_BYTES[4:], "255 addresses"),
    ],
)
def test_bytes_that_are_no_advert(data: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decode(data, MASTER, PEER)


def test_ethernet_padding_behind_the_packet_is_cut_off() -> None:
    datagram = decode_ipv4(ipv4(V2_BYTES) + bytes(6))
    assert (datagram.source, datagram.destination, datagram.ttl) == (MASTER, GROUP, 255)
    assert datagram.payload == V2_BYTES


def test_ip_options_are_passed_over() -> None:
    packet = bytearray(ipv4(V2_BYTES))
    packet[0] = 0x46
    packet[2:4] = struct.pack("!H", 24 + len(V2_BYTES))
    packet[20:20] = b"\x94\x04\0\0"  # router alert
    assert decode_ipv4(bytes(packet)).payload == V2_BYTES


@pytest.mark.parametrize(
    ("packet", "complaint"),
    [
        (ipv4(b"")[:19], "too few"),
        (b"\x65" + ipv4(V2_BYTES)[1:], "not an IPv4 header"),
        (b"\x44" + ipv4(V2_BYTES)[1:], "not an IPv4 header"),
        (ipv4(V2_BYTES, protocol=51), "protocol 51"),
        (ipv4(V2_BYTES, total=1000), "IP length 1000"),
        (ipv4(V2_BYTES, total=19), "IP length 19"),
        (ipv4(V2_BYTES)[:6] + b"\x20\x00" + ipv4(V2_BYTES)[8:], "fragment"),
    ],
)
def test_packets_that_are_no_vrrp(packet: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        decode_ipv4(packet)


@pytest.mark.parametrize(
    "advert",
    [
        Advert(version=4, virtual_router_id=1, priority=1, interval=100),
        Advert(version=2, virtual_router_id=0, priority=1, interval=100),
        Advert(version=2, virtual_router_id=1, priority=256, interval=100),
        Advert(version=2, virtual_router_id=1, priority=1, interval=150),
        Advert(version=3, virtual_router_id=1, priority=1, interval=4096),
        Advert(version=3, virtual_router_id=1, priority=1, interval=100, addresses=(VIP,) * 256),
        Advert(version=2, virtual_router_id=1, priority=1, interval=100, password=b"short"),
    ],
)
def test_fields_that_do_not_fit_are_an_error_of_ours(advert: Advert) -> None:
    with pytest.raises(ValueError, match=r"fit|neither|at most|8 bytes"):
        encode(advert, MASTER, GROUP)
