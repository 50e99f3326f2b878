# SPDX-License-Identifier: Apache-2.0
"""TCP segments (RFC 9293 section 3.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pointsman.packets import ethernet, ip
from pointsman.packets.checksum import internet_checksum, pseudo_header
from pointsman.packets.errors import WireError

FIN, SYN, RST, PUSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
"""Bits of Segment.flags."""
HEADER_SIZE = 20
SOURCE_PORT_AT, DESTINATION_PORT_AT = 0, 2
"""Offsets in a header, for programs of classic BPF."""

_HEADER = struct.Struct("!HHIIBBHHH")
_CHECKSUM_AT = 16


class Segment(NamedTuple):
    """The header of a segment."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledged: int
    flags: int
    size: int = HEADER_SIZE
    """Bytes of the header with its options; read by decode, not by encode."""


class Ends(NamedTuple):
    """The addresses of a segment's sender and receiver."""

    source_mac: bytes
    destination_mac: bytes
    source: bytes
    destination: bytes
    """It has the length of `source`."""


def encode_frame(
    ends: Ends, segment: Segment, *, ttl: int, window: int, options: bytes = b"", data: bytes = b""
) -> bytes:
    """Return an Ethernet frame with a segment in an IP packet of the version that the addresses have."""
    whole = encode(ends.source, ends.destination, segment, window=window, options=options, data=data)
    head = ethernet.encode(ends.destination_mac, ends.source_mac, ip.ether_type(ends.source))
    return head + ip.encode(ends.source, ends.destination, ip.TCP, len(whole), ttl=ttl) + whole


def encode(
    source: bytes,
    destination: bytes,
    segment: Segment,
    *,
    window: int,
    options: bytes = b"",
    data: bytes = b"",
) -> bytes:
    """Return a segment with its checksum, as it follows an IP header with these addresses.

    `options` are a multiple of 4 bytes.
    """
    words = (HEADER_SIZE + len(options)) // 4
    ports = segment.source_port, segment.destination_port
    numbers = segment.sequence, segment.acknowledged
    bare = _HEADER.pack(*ports, *numbers, words << 4, segment.flags, window, 0, 0) + options + data
    total = internet_checksum(pseudo_header(source, destination, ip.TCP, len(bare)) + bare)
    return bare[:_CHECKSUM_AT] + total.to_bytes(2, "big") + bare[_CHECKSUM_AT + 2 :]


def decode(data: bytes, at: int = 0) -> Segment:
    """Return the header that begins at an offset; its checksum is not looked at. Raises WireError.

    The segment's end may be missing, as in a captured frame.
    """
    if len(data) < at + HEADER_SIZE:
        raise WireError(f"{max(len(data) - at, 0)} bytes are too few for a TCP header")
    source, destination, sequence, acknowledged, offset, flags, _, _, _ = _HEADER.unpack_from(data, at)
    size = (offset >> 4) * 4
    if size < HEADER_SIZE:
        raise WireError(f"a TCP header of {size} bytes")
    return Segment(source, destination, sequence, acknowledged, flags, size)
