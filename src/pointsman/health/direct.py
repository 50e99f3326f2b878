"""DR_CHECK: the frames of a handshake with a VIP at a real server's MAC address, and what answers mean.

keepalived and ldirectord ask the real server's own address. That says nothing about what clients use: a real
server without the VIP on lo, with nothing listening there, or with a firewall on it answers all the same.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address

import msgspec

from pointsman.model.checks import DirectCheck

ETH_P_IP = 0x0800
_TCP = 6
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_ETHERNET = struct.Struct("!6s6sH")
_IP = struct.Struct("!BBHHHBBH4s4s")
_SEGMENT = struct.Struct("!HHIIBBHHH")
_PSEUDO = struct.Struct("!4s4sBBH")

HOPS = 1
"""TTL: a real server that would forward the packet instead of taking it drops it."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of the handshake, on the wire and in IP."""

    our_mac: bytes
    their_mac: bytes
    source: IPv4Address
    source_port: int
    virtual: IPv4Address
    virtual_port: int


class Reply(enum.Enum):
    """What a frame says about the handshake."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FOREIGN = "foreign"
    """Somebody else answers for the VIP."""
    NONE = "none"
    """Not about this handshake."""


def syn(ends: Ends, sequence: int) -> bytes:
    """The first segment of the handshake."""
    return _frame(ends, sequence, 0, _SYN)


def reset(ends: Ends, sequence: int) -> bytes:
    """The segment that ends what `syn` has begun; `sequence` as there."""
    return _frame(ends, sequence + 1 & 0xFFFFFFFF, 0, _RST)


def reply(ends: Ends, sequence: int, frame: bytes) -> Reply:
    """What a frame that has been received says; anything at all may be in it."""
    if len(frame) < _ETHERNET.size + _IP.size:
        return Reply.NONE
    _, sender, kind = _ETHERNET.unpack_from(frame)
    first, _, _, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(frame, _ETHERNET.size)
    at = _ETHERNET.size + (first & 15) * 4
    if (kind, first >> 4, protocol, fragment & 0x3FFF) != (ETH_P_IP, 4, _TCP, 0) or len(
        frame
    ) < at + _SEGMENT.size:
        return Reply.NONE
    port, our_port, _, acknowledged, _, flags, _, _, _ = _SEGMENT.unpack_from(frame, at)
    theirs = (source, port) == (ends.virtual.packed, ends.virtual_port)
    ours = (destination, our_port) == (ends.source.packed, ends.source_port)
    if not theirs or not ours or not flags & _ACK or acknowledged != sequence + 1 & 0xFFFFFFFF:
        return Reply.NONE
    if sender != ends.their_mac:
        return Reply.FOREIGN
    if flags & _RST:
        return Reply.REFUSED
    return Reply.ACCEPTED if flags & _SYN else Reply.NONE


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
        (0x06, 0, 0, 128),
        (0x06, 0, 0, 0),
    ]


def success(check: DirectCheck, mac: bytes) -> str:
    """The reason of an up verdict."""
    return f"handshake with {_where(check, mac)}"


def silence(check: DirectCheck, mac: bytes, source: IPv4Address) -> str:
    """The reason when nothing answers; it names what is usually wrong."""
    return (
        f"no answer to {source} within {check.connect_timeout:.1f} s from {_where(check, mac)}: "
        "is the VIP on its lo, and no firewall before it?"
    )


def refused(check: DirectCheck, mac: bytes) -> str:
    """The reason when the real server has the VIP and nothing listens."""
    return f"connection refused by {_where(check, mac)}: nothing listens on the VIP"


def _where(check: DirectCheck, mac: bytes) -> str:
    return f"{check.virtual_address}:{check.connect_port} at {check.connect_address} ({mac.hex(':')})"


def _frame(ends: Ends, sequence: int, acknowledged: int, flags: int) -> bytes:
    source, virtual = ends.source.packed, ends.virtual.packed
    bare = _SEGMENT.pack(
        ends.source_port, ends.virtual_port, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0
    )
    total = checksum(_PSEUDO.pack(source, virtual, 0, _TCP, len(bare)) + bare)
    segment = bare[:16] + struct.pack("!H", total) + bare[18:]
    length = _IP.size + len(segment)
    head = _IP.pack(0x45, 0, length, 0, 0x4000, HOPS, _TCP, 0, source, virtual)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return _ETHERNET.pack(ends.their_mac, ends.our_mac, ETH_P_IP) + head + segment


def checksum(data: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
