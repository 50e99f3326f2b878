"""BFD control packets as bytes (RFC 5880 section 4.1), without authentication."""

from __future__ import annotations

import enum
import struct

import msgspec

PORT, MULTIHOP_PORT = 3784, 4784
"""UDP ports of RFC 5881 and RFC 5883."""
SOURCE_PORTS = range(49152, 65536)
"""RFC 5881 section 4."""
TTL = 255

_VERSION = 1
_PACKET = struct.Struct("!BBBBIIIII")
_POLL, _FINAL, _CONTROL_PLANE_INDEPENDENT, _AUTHENTICATION, _DEMAND, _MULTIPOINT = 32, 16, 8, 4, 2, 1


class State(enum.IntEnum):
    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


class Diagnostic(enum.IntEnum):
    """Why a session has left Up last; RFC 5880 section 4.1 has more, and others may come."""

    NONE = 0
    DETECTION_TIME_EXPIRED = 1
    NEIGHBOUR_SIGNALED_DOWN = 3
    ADMINISTRATIVELY_DOWN = 7


class BadPacketError(Exception):
    """Bytes of a peer that are no BFD control packet for us. The only exception that decoding raises."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A control packet; times are microseconds."""

    state: State
    diagnostic: int = 0
    poll: bool = False
    final: bool = False
    demand: bool = False
    multiplier: int
    own: int
    """The sender's discriminator."""
    yours: int
    """The receiver's, as far as the sender knows it; else 0."""
    min_tx: int
    min_rx: int
    """0: send me none."""


def encode(packet: Packet) -> bytes:
    """The UDP payload. Raises struct.error for a field that does not fit."""
    flags = _POLL * packet.poll | _FINAL * packet.final | _DEMAND * packet.demand
    return _PACKET.pack(
        *(_VERSION << 5 | packet.diagnostic, packet.state << 6 | flags, packet.multiplier, _PACKET.size),
        *(packet.own, packet.yours, packet.min_tx, packet.min_rx, 0),
    )


def decode(data: bytes) -> Packet:
    """What every receiver checks before it looks for the session (section 6.8.6). Raises BadPacketError."""
    if len(data) < _PACKET.size:
        raise BadPacketError(f"{len(data)} bytes are too few for a BFD control packet")
    first, second, multiplier, length, own, yours, min_tx, min_rx, _ = _PACKET.unpack_from(data)
    if first >> 5 != _VERSION:
        raise BadPacketError(f"BFD version {first >> 5} is not {_VERSION}")
    if second & _AUTHENTICATION:
        raise BadPacketError("it is authenticated, and no authentication is in use here")
    if not _PACKET.size <= length <= len(data):
        raise BadPacketError(f"it says {length} bytes and has {len(data)}")
    if multiplier == 0 or second & _MULTIPOINT or own == 0:
        raise BadPacketError("multiplier 0, the multipoint bit, or discriminator 0")
    state = State(second >> 6)
    if yours == 0 and state not in (State.DOWN, State.ADMIN_DOWN):
        raise BadPacketError(f"it names no session and says {state.name}")
    return Packet(
        state=state,
        diagnostic=first & 31,
        poll=bool(second & _POLL),
        final=bool(second & _FINAL),
        demand=bool(second & _DEMAND),
        multiplier=multiplier,
        own=own,
        yours=yours,
        min_tx=min_tx,
        min_rx=min_rx,
    )
