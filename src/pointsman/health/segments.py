"""TCP segments between us and a VIP at one real server's MAC address, as whole frames."""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from pointsman.model.address import Address
from pointsman.model.checksum import internet_checksum

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
FIN, SYN, RST, PUSH, ACK = 1, 2, 4, 8, 16
_TCP = 6
_ETHERNET = struct.Struct("!6s6sH")
_IP = struct.Struct("!BBHHHBBH4s4s")
_IP6 = struct.Struct("!IHBB16s16s")
_SEGMENT = struct.Struct("!HHIIBBHHH")
_PSEUDO = struct.Struct("!I3xB")
"""What follows the addresses: written as for IPv6 (RFC 8200 section 8.1), the sum is IPv4's as well."""
_LOAD_4, _LOAD_2, _LOAD_1, _LOAD_2_AFTER_HEADER = 0x20, 0x28, 0x30, 0x48
_HEADER_LENGTH, _EQUAL, _RETURN = 0xB1, 0x15, 0x06

HOPS = 1
"""TTL, hop limit: a real server that would forward the packet instead of taking it drops it."""
WINDOW = 65535
"""Bytes that may be on their way to us."""
LARGEST = 65535 + _ETHERNET.size
"""Bytes of a frame; the kernel may hand over several packets as a long one."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a connection, on the wire and in IP."""

    our_mac: bytes
    their_mac: bytes
    source: Address
    source_port: int
    virtual: Address
    """Of the same family as `source`."""
    virtual_port: int

    @property
    def ether_type(self) -> int:
        return ETH_P_IP if self.virtual.version == 4 else ETH_P_IPV6


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
    words = 5 + len(options) // 4
    bare = _SEGMENT.pack(
        ends.source_port, ends.virtual_port, sequence, acknowledged, words << 4, flags, WINDOW, 0, 0
    )
    bare += options + data
    addresses = ends.source.packed + ends.virtual.packed
    total = internet_checksum(addresses + _PSEUDO.pack(len(bare), _TCP) + bare)
    segment = bare[:16] + struct.pack("!H", total) + bare[18:]
    frame = _ETHERNET.pack(ends.their_mac, ends.our_mac, ends.ether_type)
    return frame + _ip_header(ends, len(segment)) + segment


def _ip_header(ends: Ends, length: int) -> bytes:
    source, virtual = ends.source.packed, ends.virtual.packed
    if ends.ether_type == ETH_P_IPV6:
        return _IP6.pack(6 << 28, length, _TCP, HOPS, source, virtual)
    head = _IP.pack(0x45, 0, _IP.size + length, 0, 0x4000, HOPS, _TCP, 0, source, virtual)
    return head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:]


class _Packet(NamedTuple):
    """An IP packet with a whole TCP segment, and where that begins and ends in the frame."""

    source: bytes
    destination: bytes
    at: int
    end: int


def read(ends: Ends, frame: bytes) -> Segment | None:
    """The segment in a frame of this connection; None in any other, whatever is in it."""
    packet = _packet(frame, ends.ether_type)
    if packet is None or packet.at + _SEGMENT.size > packet.end or packet.end > len(frame):
        return None
    at, end = packet.at, packet.end
    port, our_port, sequence, acknowledged, offset, flags, _, _, _ = _SEGMENT.unpack_from(frame, at)
    theirs = (packet.source, port) == (ends.virtual.packed, ends.virtual_port)
    ours = (packet.destination, our_port) == (ends.source.packed, ends.source_port)
    data_at = at + (offset >> 4) * 4
    if not theirs or not ours or not at + _SEGMENT.size <= data_at <= end:
        return None
    return Segment(frame[6:12], flags, sequence, acknowledged, frame[data_at:end])


def _packet(frame: bytes, ether_type: int) -> _Packet | None:
    """A TCP packet of this family; None: another one, a fragment, or one with extension headers."""
    header = _IP if ether_type == ETH_P_IP else _IP6
    at = _ETHERNET.size
    if len(frame) < at + header.size or _ETHERNET.unpack_from(frame)[2] != ether_type:
        return None
    if header is _IP6:
        head, length, following, _, source, destination = _IP6.unpack_from(frame, at)
        at += _IP6.size
        return _Packet(source, destination, at, at + length) if (head >> 28, following) == (6, _TCP) else None
    first, _, length, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(frame, at)
    if (first >> 4, protocol, fragment & 0x3FFF) != (4, _TCP, 0):
        return None
    return _Packet(source, destination, at + (first & 15) * 4, at + length)


def filter_program(ends: Ends) -> list[tuple[int, int, int, int]]:
    """Classic BPF that lets only TCP segments from the VIP to our port through, as (code, jt, jf, k)."""
    packed = ends.virtual.packed
    sender = [int.from_bytes(packed[at : at + 4], "big") for at in range(0, len(packed), 4)]
    if ends.ether_type == ETH_P_IP:
        protocol_at, sender_at, port = 23, 26, (_LOAD_2_AFTER_HEADER, 16, ends.source_port)
    else:
        protocol_at, sender_at, port = 20, 22, (_LOAD_2, 56, ends.source_port)
    wanted = [(_LOAD_2, 12, ends.ether_type), (_LOAD_1, protocol_at, _TCP)]
    wanted += [(_LOAD_4, sender_at + 4 * index, word) for index, word in enumerate(sender)]
    lines: list[tuple[int, int]] = []
    for load, at, value in [*wanted, port]:
        if load == _LOAD_2_AFTER_HEADER:
            lines.append((_HEADER_LENGTH, _ETHERNET.size))
        lines += [(load, at), (_EQUAL, value)]
    # What is not equal jumps to the last line, which takes nothing.
    program = [
        (code, 0, len(lines) - index if code == _EQUAL else 0, value)
        for index, (code, value) in enumerate(lines)
    ]
    return [*program, (_RETURN, 0, 0, LARGEST), (_RETURN, 0, 0, 0)]
