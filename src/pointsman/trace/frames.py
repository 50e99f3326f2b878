# SPDX-License-Identifier: Apache-2.0
"""Decode the fields of a captured Ethernet frame for the hop table: TCP and UDP over IPv4 and IPv6.

For a packet in a tunnel to its real server the fields are those of the inner packet, plus the tunnel.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from typing import NamedTuple

import msgspec

from pointsman.packets import ethernet, ip, tcp
from pointsman.packets.errors import WireError
from pointsman.trace.tunnel import open_tunnel

SNAP_LENGTH = 192
"""Bytes of a frame that are captured.

Enough for Ethernet 14, a tunnel header up to 52, IPv4 up to 60 or IPv6 40, the fixed part of TCP 20, or
UDP and the payload that identifies a datagram.
"""
_PORTS = struct.Struct("!HH")
_UDP_HEADER = 8
_TELLING = 64
"""Bytes of a datagram's payload that identify it."""

TCP, UDP = "TCP", "UDP"
NUMBERS = {TCP: ip.TCP, UDP: ip.UDP}
_FLAGS = (
    (tcp.SYN, "S"),
    (tcp.FIN, "F"),
    (tcp.RST, "R"),
    (tcp.PUSH, "P"),
    (tcp.URG, "U"),
    (tcp.ECE, "E"),
    (tcp.CWR, "W"),
    (tcp.ACK, "."),
)
"""Bits of the TCP flags with tcpdump's letters, in tcpdump's order."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A captured TCP segment or UDP datagram."""

    source_mac: str
    destination_mac: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    ttl: int
    """TTL, or the hop limit of IPv6."""
    flags: str
    """Flags in tcpdump's form: S, S., P., R ... Empty for UDP."""
    sequence: int
    """Sequence number. For UDP a checksum of the payload, which identifies the datagram."""
    acknowledgement: int
    length: int
    """Bytes of payload."""
    protocol: str = TCP
    tunnel: str = ""
    """Kind and ends of the tunnel that the packet is in."""


class _Transport(NamedTuple):
    """Fields that identify a packet of a connection."""

    flags: int
    sequence: int
    acknowledged: int
    length: int


def decode(data: bytes) -> Frame:
    """Decode a frame from its first SNAP_LENGTH bytes. Raises WireError for bytes that are no such frame."""
    ether = ethernet.decode(data)
    at = ethernet.HEADER_SIZE
    packet, tunnel = ip.decode(ether.ether_type, data, at), ""
    if found := open_tunnel(data, packet.protocol, at + packet.size):
        kind, ether_type, at = found
        tunnel = f"{kind} {_text(packet.source)} > {_text(packet.destination)}"
        packet = ip.decode(ether_type, data, at)
    if offset := packet.fragment & ip.FRAGMENT_OFFSET:
        raise WireError(f"fragment offset {offset}: not the start of a packet")
    at += packet.size
    protocol, transport = _transport(data, at, packet)
    source_port, destination_port = _PORTS.unpack_from(data, at)
    letters = "".join(letter for bit, letter in _FLAGS if transport.flags & bit)
    return Frame(
        source_mac=ether.source.hex(":"),
        destination_mac=ether.destination.hex(":"),
        source=_text(packet.source),
        source_port=source_port,
        destination=_text(packet.destination),
        destination_port=destination_port,
        ttl=packet.ttl,
        flags=letters or ("none" if protocol == TCP else ""),
        sequence=transport.sequence,
        acknowledgement=transport.acknowledged,
        length=max(0, transport.length),
        protocol=protocol,
        tunnel=tunnel,
    )


def _transport(data: bytes, at: int, packet: ip.IpHeader) -> tuple[str, _Transport]:
    """Decode the transport header. Raises WireError."""
    if packet.protocol == ip.TCP:
        segment = tcp.decode(data, at)
        acknowledged = segment.acknowledged if segment.flags & tcp.ACK else 0
        length = packet.length - segment.size
        return TCP, _Transport(segment.flags, segment.sequence, acknowledged, length)
    if packet.protocol != ip.UDP:
        raise WireError(f"protocol {packet.protocol} is neither TCP nor UDP")
    if len(data) < at + _PORTS.size:
        raise WireError(f"{len(data)} bytes end inside a UDP header")
    end = at + min(packet.length, _UDP_HEADER + _TELLING)
    return UDP, _Transport(0, zlib.crc32(data[at + _UDP_HEADER : end]), 0, packet.length - _UDP_HEADER)


def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))
