# SPDX-License-Identifier: Apache-2.0
"""Headers as scapy reads and builds them: an oracle that shares no code with ours."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pointsman.packets import arp, ethernet, icmp, ip, ndisc, tcp
from pointsman.packets.checksum import internet_checksum
from pointsman.packets.errors import WireError

OURS, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
A, B = "192.0.2.1", "192.0.2.2"
A6, B6 = "2001:db8::1", "2001:db8::2:3"


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes.fromhex("0001f203f4f5f6f7"), 0x220D),  # RFC 1071 section 3
        (b"", 0xFFFF),
        (bytes(20), 0xFFFF),
        (b"\xff\xff", 0),
        (b"\x12", 0xEDFF),
        (b"\xff\xff\x00\x01", 0xFFFE),
    ],
)
def test_checksum(data: bytes, checksum: int) -> None:
    assert internet_checksum(data) == checksum


def test_an_ipv4_header() -> None:
    ours = ip.encode_ipv4(packed(A), packed(B), ip.AH, 7, ttl=9, tos=0xC0, identification=5, fragment=0)
    theirs = IP(src=A, dst=B, proto=51, ttl=9, tos=0xC0, id=5, len=27)
    assert ours == bytes(theirs)
    assert ip.decode_ipv4(ours) == ip.IpHeader(packed(A), packed(B), 51, 9, 20, 7, 0)


def test_an_ipv4_header_with_options_of_a_fragment() -> None:
    theirs = bytes(IP(src=A, dst=B, options=[b"\x01\x01\x01\x01"], frag=3, flags="MF") / (b"x" * 5))
    found = ip.decode_ipv4(b"before" + theirs, 6)
    assert (found.size, found.length, found.fragment & ip.IS_FRAGMENT) == (24, 5, ip.MORE_FRAGMENTS | 3)
    assert ip.payload(found, theirs + b"padding") == b"xxxxx"
    assert ip.payload(found, b"before" + theirs, 6) == b"xxxxx"


def test_an_ipv6_header() -> None:
    ours = ip.encode(packed(A6), packed(B6), ip.TCP, 7, ttl=9)
    assert ours == bytes(IPv6(src=A6, dst=B6, nh=6, hlim=9, plen=7))
    assert ip.decode(ethernet.ETH_P_IPV6, ours) == ip.IpHeader(packed(A6), packed(B6), 6, 9, 40, 7)


def test_offsets_for_filters_are_where_the_fields_stand() -> None:
    for address, other in ((A, B), (A6, B6)):
        header = ip.encode(packed(address), packed(other), 99, 0)
        kind, size = ip.ether_type(packed(address)), len(packed(address))
        assert header[ip.protocol_at(kind)] == 99
        assert header[ip.source_at(kind) :][:size] == packed(address)
        assert header[ip.destination_at(kind) :][:size] == packed(other)


@pytest.mark.parametrize("addresses", [(A, B), (A6, B6)])
@pytest.mark.parametrize("data", [b"", b"odd"])
def test_a_tcp_frame(addresses: tuple[str, str], data: bytes) -> None:
    source, destination = addresses
    ends = tcp.Ends(OURS, THEIRS, packed(source), packed(destination))
    segment = tcp.Segment(4000, 80, 0xFFFFFFFF, 9, tcp.SYN | tcp.ACK)
    ours = tcp.encode_frame(ends, segment, ttl=1, window=512, options=b"\x02\x04\x05\xb4", data=data)
    network = (
        IPv6(src=source, dst=destination, hlim=1)
        if ":" in source
        else IP(src=source, dst=destination, ttl=1, id=0, flags="DF")
    )
    there = Ether(src=OURS.hex(":"), dst=THEIRS.hex(":")) / network
    there /= TCP(sport=4000, dport=80, seq=0xFFFFFFFF, ack=9, flags="SA", window=512, options=[("MSS", 1460)])
    assert ours == bytes(there / data)
    found = tcp.decode(ours, ethernet.HEADER_SIZE + len(bytes(network)))
    assert found == segment._replace(size=24)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (arp.gratuitous_arp(OURS, packed(A)), ARP(psrc=A, pdst=A, hwdst="ff:ff:ff:ff:ff:ff")),
        (arp.arp_probe(OURS, packed(A)), ARP(psrc="0.0.0.0", pdst=A)),
    ],
    ids=["gratuitous", "probe"],
)
def test_arp(ours: bytes, theirs: Packet) -> None:
    theirs.hwsrc = OURS.hex(":")
    assert ours == bytes(Ether(src=OURS.hex(":"), dst="ff:ff:ff:ff:ff:ff") / theirs)
    with pytest.raises(WireError, match="operation 1 is no reply"):
        arp.decode_reply(ours)


def test_an_arp_reply() -> None:
    fields: dict[str, Any] = {"op": 2, "hwsrc": THEIRS.hex(":"), "psrc": B, "hwdst": OURS.hex(":"), "pdst": A}
    frame = bytes(Ether() / ARP(**fields)) + bytes(18)
    assert arp.decode_reply(frame) == arp.Arp(arp.REPLY, THEIRS, packed(B), OURS, packed(A))
    for changed in (Ether(type=0x0800) / ARP(**fields), Ether() / ARP(**fields, ptype=0x86DD)):
        with pytest.raises(WireError, match="not ARP over Ethernet"):
            arp.decode(bytes(changed))


def ether(group: str) -> Ether:
    return Ether(src=OURS.hex(":"), dst=group)


def test_a_neighbour_advertisement() -> None:
    for router in (True, False):
        message = ICMPv6ND_NA(R=int(router), S=0, O=1, tgt=A6) / ICMPv6NDOptDstLLAddr(lladdr=OURS.hex(":"))
        theirs = ether("33:33:00:00:00:01") / IPv6(src=A6, dst="ff02::1", hlim=255) / message
        ours = ndisc.neighbour_advertisement(OURS, packed(A6), router)
        assert ours == bytes(theirs)
        assert ndisc.decode_advertisement(ours) == (packed(A6), OURS)


def test_the_mac_of_an_advertisement_without_option_is_the_frames_source() -> None:
    frame = ether("33:33:00:00:00:01") / IPv6(src=A6, dst="ff02::1") / ICMPv6ND_NA(tgt=B6)
    assert ndisc.decode_advertisement(bytes(frame)) == (packed(B6), OURS)


def test_a_neighbour_solicitation() -> None:
    ours = ndisc.neighbour_solicitation(OURS, packed(A6), packed(B6))
    message = ICMPv6ND_NS(tgt=B6) / ICMPv6NDOptSrcLLAddr(lladdr=OURS.hex(":"))
    group = IPv6(src=A6, dst="ff02::1:ff02:3", hlim=255)
    assert ours == bytes(ether("33:33:ff:02:00:03") / group / message)
    with pytest.raises(WireError, match="type 135 is not an advertisement"):
        ndisc.decode_advertisement(ours)


def test_an_echo() -> None:
    ours = icmp.encode_request(4, 7, 9, b"odd")
    assert ours == bytes(ICMP(id=7, seq=9) / b"odd")
    theirs = bytes(ICMP(type="echo-reply", id=7, seq=9) / b"odd")
    assert icmp.decode_reply(4, theirs) == icmp.Echo(icmp.ECHO_REPLY, 7, 9, b"odd")
    with pytest.raises(WireError, match="type 8 is no echo reply"):
        icmp.decode_reply(4, ours)


def test_an_echo_of_version_6_leaves_its_checksum_to_the_kernel() -> None:
    ours = icmp.encode_request(6, 7, 9, b"odd")
    assert ours == bytes(ICMPv6EchoRequest(id=7, seq=9, data=b"odd", cksum=0))
    theirs = bytes(ICMPv6EchoReply(id=7, seq=9, data=b"odd", cksum=0))
    assert icmp.decode_reply(6, theirs) == icmp.Echo(icmp.ECHO_REPLY_6, 7, 9, b"odd")
