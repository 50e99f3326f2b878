"""What a captured Ethernet frame says, as far as a hop table needs it: TCP over IPv4."""

from __future__ import annotations

import ipaddress
import struct

import msgspec

SNAP_LENGTH = 128
"""Bytes of a frame that are enough: Ethernet 14, IPv4 at most 60, the fixed part of TCP 20."""

_ETHERTYPE_IPV4 = 0x0800
_TCP = 6
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
    """The bytes are not a TCP segment over IPv4 over Ethernet, or end too early."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP segment on the wire."""

    source_mac: str
    destination_mac: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    ttl: int
    flags: str
    """As tcpdump writes them: S, S., P., R ..."""
    sequence: int
    acknowledgement: int
    length: int
    """Bytes of payload."""


def decode(data: bytes) -> Frame:
    """A frame from its first SNAP_LENGTH bytes. Raises FrameError, and nothing else, whatever the bytes."""
    try:
        return _decode(data)
    except struct.error as error:
        raise FrameError(f"{len(data)} bytes end inside a header") from error


def _decode(data: bytes) -> Frame:
    destination_mac, source_mac, ethertype = struct.unpack_from("!6s6sH", data)
    if ethertype != _ETHERTYPE_IPV4:
        raise FrameError(f"EtherType {ethertype:#06x} is not IPv4")
    version_length, total, fragment, ttl, protocol = struct.unpack_from("!BxHxxHBB", data, 14)
    header = (version_length & 0xF) * 4
    if version_length >> 4 != 4 or header < 20:
        raise FrameError(f"not an IPv4 header: first byte {version_length:#04x}")
    if protocol != _TCP or fragment & 0x1FFF:
        raise FrameError(f"protocol {protocol}, fragment offset {fragment & 0x1FFF}: not the start of TCP")
    source, destination = struct.unpack_from("!4s4s", data, 14 + 12)
    source_port, destination_port, sequence, acknowledgement, offset, bits = struct.unpack_from(
        "!HHIIBB", data, 14 + header
    )
    return Frame(
        source_mac=source_mac.hex(":"),
        destination_mac=destination_mac.hex(":"),
        source=str(ipaddress.IPv4Address(source)),
        source_port=source_port,
        destination=str(ipaddress.IPv4Address(destination)),
        destination_port=destination_port,
        ttl=ttl,
        flags="".join(letter for bit, letter in _FLAGS if bits & bit) or "none",
        sequence=sequence,
        acknowledgement=acknowledgement if bits & 0x10 else 0,
        length=max(0, total - header - (offset >> 4) * 4),
    )
