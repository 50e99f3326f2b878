# SPDX-License-Identifier: Apache-2.0
"""Frames from the wire: what scapy builds is read right, and any bytes at all raise WireError at worst."""

from __future__ import annotations

import contextlib
import ipaddress
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from tests.support.classic_bpf import run

from pointsman.packets.errors import WireError
from pointsman.trace.capture import service_filter
from pointsman.trace.frames import SNAP_LENGTH, Frame, decode

ETHERNET = Ether(src="00:1a:a0:21:21:65", dst="de:ad:be:ef:24:46")


def test_a_segment_with_ip_options_and_payload() -> None:
    packet = (
        ETHERNET / IP(src="192.168.7.2", dst="192.168.7.33", ttl=63, options=[b"\x07\x07\x04\0\0\0\0"])
        / TCP(sport=51091, dport=8000, flags="PA", seq=7, ack=9, options=[("MSS", 1460)]) / (b"x" * 500)
    )  # fmt: skip
    assert decode(bytes(packet)[:SNAP_LENGTH]) == Frame(
        source_mac="00:1a:a0:21:21:65", destination_mac="de:ad:be:ef:24:46",
        source="192.168.7.2", source_port=51091, destination="192.168.7.33", destination_port=8000,
        ttl=63, flags="P.", sequence=7, acknowledgement=9, length=500,
    )  # fmt: skip


def test_ipv6_and_udp() -> None:
    packet = (
        ETHERNET / IPv6(src="fd00::2", dst="fd00::9", hlim=63) / UDP(sport=51091, dport=53) / (b"x" * 300)
    )
    frame = decode(bytes(packet)[:SNAP_LENGTH])
    assert (frame.source, frame.destination, frame.ttl) == ("fd00::2", "fd00::9", 63)
    assert (frame.source_port, frame.destination_port, frame.protocol) == (51091, 53, "UDP")
    assert (frame.length, frame.flags, frame.acknowledgement) == (300, "", 0)
    other = bytes(packet)[:-298] + b"y" * 298
    assert decode(other[:SNAP_LENGTH]).sequence != frame.sequence, "datagrams are told apart by their payload"
    segment = ETHERNET / IPv6() / TCP(flags="SA", seq=7, ack=9) / b"abc"
    assert (decode(bytes(segment)).flags, decode(bytes(segment)).length) == ("S.", 3)


@pytest.mark.parametrize(
    ("flags", "shown"), [("S", "S"), ("SA", "S."), ("RA", "R."), ("FPA", "FP."), ("", "none")]
)
def test_flags_read_as_tcpdump_writes_them(flags: str, shown: str) -> None:
    assert decode(bytes(ETHERNET / IP() / TCP(flags=flags))).flags == shown


@pytest.mark.parametrize(
    "packet",
    [
        ETHERNET / ARP(),
        ETHERNET / IP() / ICMP(),
        ETHERNET / IP(frag=10) / TCP(),
        ETHERNET / IPv6() / ICMPv6EchoRequest(),
    ],
    ids=["arp", "icmp", "later-fragment", "icmpv6"],
)
def test_what_is_neither_tcp_nor_udp_is_refused(packet: Ether) -> None:
    with pytest.raises(WireError):
        decode(bytes(packet))


@given(st.binary(max_size=SNAP_LENGTH))
@settings(deadline=None)
def test_any_bytes_give_a_frame_or_a_frame_error(data: bytes) -> None:
    starts = (
        b"",
        bytes(ETHERNET),
        bytes(ETHERNET / IP() / TCP())[:34],
        bytes(ETHERNET / IPv6() / UDP())[:54],
    )
    for candidate in [start + data for start in starts]:
        with contextlib.suppress(WireError):
            assert 0 <= decode(candidate).ttl <= 255


VIP = ipaddress.IPv4Address("192.168.7.33")
VIP6 = ipaddress.IPv6Address("2001:db8:1:2:3:4:5:9")
CLIENT, RIP = "192.168.7.2", "192.168.88.20"


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (IP(src=CLIENT, dst=str(VIP)) / TCP(sport=9, dport=8000), True),
        (IP(src=CLIENT, dst=str(VIP), options=[b"\x01\x01\x01\x01"]) / TCP(sport=9, dport=8000), True),
        (IP(src=str(VIP), dst=CLIENT) / TCP(sport=8000, dport=9), True),
        (IP(src=RIP, dst=CLIENT) / TCP(sport=8000, dport=9), True),
        (IP(src=CLIENT, dst=RIP) / TCP(sport=9, dport=8000), False),
        (IP(src=CLIENT, dst=str(VIP)) / TCP(sport=9, dport=80), False),
        (IP(src=CLIENT, dst=str(VIP)) / UDP(sport=9, dport=8000), False),
        (IP(src=CLIENT, dst=str(VIP), frag=3) / TCP(sport=9, dport=8000), False),
    ],
)
def test_the_kernels_filter_passes_only_the_service(packet: IP, wanted: bool) -> None:
    assert run(service_filter(VIP, 8000), bytes(ETHERNET / packet)) == (SNAP_LENGTH if wanted else 0)


def tunnelled(kind: str, packet: IP | IPv6, outer: str) -> Ether:
    """The packet in the tunnel that IPVS puts it in."""
    six = isinstance(packet, IPv6)
    header = IP(src="10.2.0.1", dst="10.3.0.11") if outer == "4" else IPv6(src="fd00:2::1", dst="fd00:3::11")
    inside = 41 if six else 4
    ether = 0x86DD if six else 0x0800
    between = {
        "ipip": b"",
        "gre": struct.pack("!HH", 0, ether),
        "gre csum": struct.pack("!HHHH", 0x8000, ether, 7, 0),
        "gue": struct.pack("!HHHHBBH", 40000, 6080, 12 + len(bytes(packet)), 0, 0, inside, 0),
    }[kind]
    number = {"ipip": inside, "gue": 17}.get(kind, 47)
    if outer == "4":
        header.proto = number
    else:
        header.nh = number
    return ETHERNET / header / (between + bytes(packet))


@pytest.mark.parametrize("kind", ["ipip", "gre", "gre csum", "gue"])
@pytest.mark.parametrize("outer", ["4", "6"])
@pytest.mark.parametrize("six", [False, True])
def test_a_packet_in_a_tunnel_is_passed_and_read(kind: str, outer: str, six: bool) -> None:
    vip = VIP6 if six else VIP
    header = IPv6(src="fd00::2", dst=str(vip), hlim=9) if six else IP(src=CLIENT, dst=str(vip), ttl=9)
    packet = header / TCP(sport=51091, dport=8000, flags="S", seq=7)
    frame = bytes(tunnelled(kind, packet, outer))
    assert run(service_filter(vip, 8000), frame) == SNAP_LENGTH
    assert not run(service_filter(vip, 8001), frame)
    assert not run(service_filter(vip, 8000, "UDP"), frame)
    assert not run(service_filter(vip + 1, 8000), frame)
    plain, found = decode(bytes(ETHERNET / packet)), decode(frame)
    ends = "10.2.0.1 > 10.3.0.11" if outer == "4" else "fd00:2::1 > fd00:3::11"
    assert found.tunnel == f"{kind.split()[0]} {ends}"
    assert msgspec.structs.replace(found, tunnel="") == plain


def test_a_datagram_is_known_again_in_its_tunnel() -> None:
    packet = IP(src=CLIENT, dst=str(VIP)) / UDP(sport=51091, dport=53) / (b"x" * 300)
    plain = decode(bytes(ETHERNET / packet)[:SNAP_LENGTH])
    found = decode(bytes(tunnelled("gue", packet, "6"))[:SNAP_LENGTH])
    assert msgspec.structs.replace(found, tunnel="") == plain


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (IPv6(src="fd00::2", dst=str(VIP6)) / UDP(sport=9, dport=53), True),
        (IPv6(src="fd00::20", dst="fd00::2") / UDP(sport=53, dport=9), True),
        (IPv6(src="fd00::2", dst=str(VIP6 + 1)) / UDP(sport=9, dport=53), False),
        (IPv6(src="fd00::2", dst=str(VIP6 + (1 << 64))) / UDP(sport=9, dport=53), False),
        (IPv6(src="fd00::2", dst=str(VIP6)) / UDP(sport=9, dport=54), False),
        (IPv6(src="fd00::2", dst=str(VIP6)) / TCP(sport=9, dport=53), False),
        (IP(src=CLIENT, dst=RIP) / UDP(sport=9, dport=53), False),
    ],
)
def test_and_so_over_ipv6(packet: IP, wanted: bool) -> None:
    assert run(service_filter(VIP6, 53, "UDP"), bytes(ETHERNET / packet)) == (SNAP_LENGTH if wanted else 0)
