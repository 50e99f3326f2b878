"""What a captured Ethernet frame says, as far as a hop table needs it: TCP and UDP over IPv4 and IPv6.

Of a packet in a tunnel to its real server that is what the packet says, and which tunnel it is in.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib

import msgspec

from pointsman.trace.tunnel import IPV4, IPV6, open_tunnel

SNAP_LENGTH = 192
"""Bytes of a frame that are enough: Ethernet 14, a tunnel's header at most 52, IPv4 at most 60 or IPv6 40,
the fixed part of TCP 20, or UDP and what tells datagrams apart."""
_TELLING = 64
"""Bytes of a datagram's payload that tell it from another."""

TCP, UDP = "TCP", "UDP"
NUMBERS = {TCP: 6, UDP: 17}
_FLAGS = (
    (0x02, "S"),
    (0x01, "F"),
    (0x04, "R"),
    (0x08, "P"),
    (0x20, "U"),
    (0x40, "E"),
    (0x80, "W"),
    (0x10, "."),
)
"""Bits of the TCP header with tcpdump's letters, in tcpdump's order."""


class FrameError(ValueError):
    """The bytes are not the start of TCP or UDP over IP over Ethernet, or end too early."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP segment or UDP datagram on the wire."""

    source_mac: str
    destination_mac: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    ttl: int
    """IPv6: the hop limit."""
    flags: str
    """As tcpdump writes them: S, S., P., R ...; empty for UDP."""
    sequence: int
    """UDP: a checksum of the payload, which tells one datagram from another."""
    acknowledgement: int
    length: int
    """Bytes of payload."""
    protocol: str = TCP
    tunnel: str = ""
    """The tunnel that the packet is in: its kind and its ends."""


class _Packet(msgspec.Struct, frozen=True):
    """The network layer of a frame."""

    source: str
    destination: str
    ttl: int
    protocol: int
    start: int
    """Where the transport header begins."""
    length: int
    """Bytes of it with its payload."""


def decode(data: bytes) -> Frame:
    """A frame from its first SNAP_LENGTH bytes. Raises FrameError, and nothing else, whatever the bytes."""
    try:
        return _decode(data)
    except struct.error as error:
        raise FrameError(f"{len(data)} bytes end inside a header") from error


def _decode(data: bytes) -> Frame:
    destination_mac, source_mac, ethertype = struct.unpack_from("!6s6sH", data)
    packet, tunnel = _packet(data, ethertype, 14), ""
    if found := open_tunnel(data, packet.protocol, packet.start):
        kind, ethertype, start = found
        tunnel = f"{kind} {packet.source} > {packet.destination}"
        packet = _packet(data, ethertype, start)
    source_port, destination_port = struct.unpack_from("!HH", data, packet.start)
    if packet.protocol == NUMBERS[TCP]:
        protocol = TCP
        sequence, acknowledgement, offset, bits = struct.unpack_from("!IIBB", data, packet.start + 4)
        header = (offset >> 4) * 4
    elif packet.protocol == NUMBERS[UDP]:
        protocol, header, bits, acknowledgement = UDP, 8, 0, 0
        end = packet.start + min(packet.length, 8 + _TELLING)
        sequence = zlib.crc32(data[packet.start + 8 : end])
    else:
        raise FrameError(f"protocol {packet.protocol} is neither TCP nor UDP")
    letters = "".join(letter for bit, letter in _FLAGS if bits & bit)
    return Frame(
        source_mac=source_mac.hex(":"),
        destination_mac=destination_mac.hex(":"),
        source=packet.source,
        source_port=source_port,
        destination=packet.destination,
        destination_port=destination_port,
        ttl=packet.ttl,
        flags=letters or ("none" if protocol == TCP else ""),
        sequence=sequence,
        acknowledgement=acknowledgement if bits & 0x10 else 0,
        length=max(0, packet.length - header),
        protocol=protocol,
        tunnel=tunnel,
    )


def _packet(data: bytes, ethertype: int, at: int) -> _Packet:
    if ethertype == IPV4:
        return _ipv4(data, at)
    if ethertype == IPV6:
        return _ipv6(data, at)
    raise FrameError(f"EtherType {ethertype:#06x} is not IP")


def _ipv4(data: bytes, at: int) -> _Packet:
    version_length, total, fragment, ttl, protocol = struct.unpack_from("!BxHxxHBB", data, at)
    header = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or header < 20:
        raise FrameError(f"not an IPv4 header: first byte {version_length:#04x}")
    if fragment & 0x1FFF:
        raise FrameError(f"fragment offset {fragment & 0x1FFF}: not the start of a packet")
    source, destination = (
        str(ipaddress.IPv4Address(each)) for each in struct.unpack_from("!4s4s", data, at + 12)
    )
    return _Packet(source, destination, ttl, protocol, at + header, total - header)


def _ipv6(data: bytes, at: int) -> _Packet:
    first, length, protocol, ttl, source, destination = struct.unpack_from("!BxxxHBB16s16s", data, at)
    if first >> 4 != 6:
        raise FrameError(f"not an IPv6 header: first byte {first:#04x}")
    addresses = str(ipaddress.IPv6Address(source)), str(ipaddress.IPv6Address(destination))
    return _Packet(*addresses, ttl, protocol, at + 40, length)
