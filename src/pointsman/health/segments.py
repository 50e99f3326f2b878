"""TCP segments between us and a VIP at one real server's MAC address, as whole frames; IPv4."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import NamedTuple

import msgspec

from pointsman.model.checksum import internet_checksum

ETH_P_IP = 0x0800
FIN, SYN, RST, PUSH, ACK = 1, 2, 4, 8, 16
_TCP = 6
_ETHERNET = struct.Struct("!6s6sH")
_IP = struct.Struct("!BBHHHBBH4s4s")
_SEGMENT = struct.Struct("!HHIIBBHHH")
_PSEUDO = struct.Struct("!4s4sBBH")

HOPS = 1
"""TTL: a real server that would forward the packet instead of taking it drops it."""
WINDOW = 65535
"""Bytes that may be on their way to us."""
LARGEST = 65535 + _ETHERNET.size
"""Bytes of a frame; the kernel may hand over several packets as a long one."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a connection, on the wire and in IP."""

    our_mac: bytes
    their_mac: bytes
    source: IPv4Address
    source_port: int
    virtual: IPv4Address
    virtual_port: int


class Segment(NamedTuple):
    """What is in a frame from the VIP to us."""

    sender: bytes
    """The MAC address it comes from."""
    flags: int
    sequence: int
    acknowledged: int
    data: bytes


def written(
    ends: Ends, flags: int, sequence: int, acknowledged: int = 0, data: bytes = b"", options: bytes = b""
) -> bytes:
    """A frame with a segment of ours; `options` are of a multiple of 4 bytes."""
    source, virtual = ends.source.packed, ends.virtual.packed
    words = 5 + len(options) // 4
    bare = _SEGMENT.pack(
        ends.source_port, ends.virtual_port, sequence, acknowledged, words << 4, flags, WINDOW, 0, 0
    )
    bare += options + data
    total = internet_checksum(_PSEUDO.pack(source, virtual, 0, _TCP, len(bare)) + bare)
    segment = bare[:16] + struct.pack("!H", total) + bare[18:]
    head = _IP.pack(0x45, 0, _IP.size + len(segment), 0, 0x4000, HOPS, _TCP, 0, source, virtual)
    head = head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:]
    return _ETHERNET.pack(ends.their_mac, ends.our_mac, ETH_P_IP) + head + segment


def read(ends: Ends, frame: bytes) -> Segment | None:
    """The segment in a frame of this connection; None in any other, whatever is in it."""
    if len(frame) < _ETHERNET.size + _IP.size:
        return None
    _, sender, kind = _ETHERNET.unpack_from(frame)
    first, _, length, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(
        frame, _ETHERNET.size
    )
    at, end = _ETHERNET.size + (first & 15) * 4, _ETHERNET.size + length
    if (kind, first >> 4, protocol, fragment & 0x3FFF) != (ETH_P_IP, 4, _TCP, 0):
        return None
    if at + _SEGMENT.size > end or end > len(frame):
        return None
    port, our_port, sequence, acknowledged, offset, flags, _, _, _ = _SEGMENT.unpack_from(frame, at)
    theirs = (source, port) == (ends.virtual.packed, ends.virtual_port)
    ours = (destination, our_port) == (ends.source.packed, ends.source_port)
    data_at = at + (offset >> 4) * 4
    if not theirs or not ours or not at + _SEGMENT.size <= data_at <= end:
        return None
    return Segment(sender, flags, sequence, acknowledged, frame[data_at:end])


def filter_program(ends: Ends) -> list[tuple[int, int, int, int]]:
    """Classic BPF that lets only TCP segments from the VIP to our port through, as (code, jt, jf, k)."""
    return [
        (0x28, 0, 0, 12),  # ldh EtherType
        (0x15, 0, 8, ETH_P_IP),
        (0x30, 0, 0, 23),  # ldb protocol
        (0x15, 0, 6, _TCP),
        (0x20, 0, 0, 26),  # ld source address
        (0x15, 0, 4, int(ends.virtual)),
        (0xB1, 0, 0, 14),  # ldx header length
        (0x48, 0, 0, 16),  # ldh destination port
        (0x15, 0, 1, ends.source_port),
        (0x06, 0, 0, LARGEST),
        (0x06, 0, 0, 0),
    ]
