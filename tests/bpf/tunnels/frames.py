# SPDX-License-Identifier: Apache-2.0
"""Tunnelled packets taken apart (ip_vs_xmit.c of Linux; RFC 2003, 2473, 2784)."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

from tests.support.program_run import DIRECTOR_MAC, checksum

from pointsman.model.next_hop import NextHop

GATEWAY_MAC = bytes.fromhex("0200000000fe")
DIRECTOR, DIRECTOR6 = "192.168.100.2", "fd00:100::2"
FAR, FAR6 = "10.99.0.11", "fd00:99::11"
"""Real servers behind a gateway."""
IPIP, GUE, GRE = 4, 17, 47
"""Outer protocols; 41 for an IPv6 packet by itself."""


class Opened(NamedTuple):
    """A tunnelled packet taken apart."""

    outer: dict[str, object]
    inner: bytes


def far_hop(address: str, index: int = 1, mtu: int = 1500) -> NextHop:
    """The next hop of a real server behind a gateway."""
    six = ":" in address
    return NextHop(
        ipaddress.ip_address(address),
        index,
        DIRECTOR_MAC,
        GATEWAY_MAC,
        mtu=mtu,
        gateway=ipaddress.ip_address("fd00:100::1" if six else "192.168.100.1"),
        own_address=ipaddress.ip_address(DIRECTOR6 if six else DIRECTOR),
    )


def passed_on(packet: bytes) -> bytes:
    """The inner packet: TTL less one, IPv4's checksum made anew, nothing else changed."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes((packet[7] - 1,)) + packet[8:]
    size = (packet[0] & 15) * 4
    header = packet[:8] + bytes((packet[8] - 1, packet[9])) + b"\0\0" + packet[12:size]
    return header[:10] + struct.pack("!H", checksum(header)) + packet[12:]


def open_outer(frame: bytes) -> Opened:
    """The fields of the outer IP header, and what it carries; its lengths and sums must be right."""
    packet = frame[14:]
    if frame[12:14] == b"\x08\x00":
        assert packet[0] == 0x45 and checksum(packet[:20]) == 0
        length = int.from_bytes(packet[2:4])
        outer: dict[str, object] = {
            "source": str(ipaddress.IPv4Address(packet[12:16])),
            "target": str(ipaddress.IPv4Address(packet[16:20])),
            "tos": packet[1],
            "identification": int.from_bytes(packet[4:6]),
            "fragment": int.from_bytes(packet[6:8]),
            "ttl": packet[8],
            "protocol": packet[9],
        }
        body = packet[20:length]
    else:
        assert frame[12:14] == b"\x86\xdd" and packet[0] >> 4 == 6
        length = int.from_bytes(packet[4:6]) + 40
        outer = {
            "source": str(ipaddress.IPv6Address(packet[8:24])),
            "target": str(ipaddress.IPv6Address(packet[24:40])),
            "tos": (int.from_bytes(packet[:2]) >> 4) & 255,
            "flow": int.from_bytes(packet[:4]) & 0xFFFFF,
            "ttl": packet[7],
            "protocol": packet[6],
        }
        body = packet[40:length]
    assert len(packet) >= length
    assert frame[:12] == GATEWAY_MAC + DIRECTOR_MAC
    return Opened(outer, body)


def open_gue(body: bytes, pseudo: bytes = b"") -> tuple[int, int, int, bytes]:
    """Source port, target port, protocol and payload; with `pseudo` the checksum must be there and right."""
    source, target, length, found = struct.unpack("!HHHH", body[:8])
    assert length == len(body)
    assert body[8] == 0 and body[10:12] == b"\0\0"
    if pseudo:
        assert found and checksum(pseudo + body + b"\0" * (len(body) % 2)) == 0
    else:
        assert found == 0
    return source, target, body[9], body[12:]


def open_gre(body: bytes) -> tuple[int, bool, bytes]:
    """Protocol, whether there is a checksum, which must be right then, and payload."""
    flags, protocol = struct.unpack("!HH", body[:4])
    if not flags:
        return protocol, False, body[4:]
    assert flags == 0x8000 and body[6:8] == b"\0\0"
    assert checksum(body + b"\0" * (len(body) % 2)) == 0
    return protocol, True, body[8:]


def pseudo_header(frame: bytes) -> bytes:
    """Return the checksum of the outer UDP datagram (RFC 768, RFC 8200)."""
    packet = frame[14:]
    if packet[0] >> 4 == 4:
        length = int.from_bytes(packet[2:4]) - 20
        return packet[12:20] + struct.pack("!BBH", 0, packet[9], length)
    return packet[8:40] + packet[4:6] + bytes((0, packet[6]))
