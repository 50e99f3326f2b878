# SPDX-License-Identifier: Apache-2.0
"""Encode and decode BFD control packets (RFC 5880 section 4.1), without authentication."""

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
    """Reason why a session last left Up. RFC 5880 section 4.1 has more values, and others can be added."""

    NONE = 0
    DETECTION_TIME_EXPIRED = 1
    NEIGHBOUR_SIGNALED_DOWN = 3
    ADMINISTRATIVELY_DOWN = 7


class BadPacketError(Exception):
    """Received bytes are not a valid BFD control packet. The only exception that decoding raises."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A control packet. Times are in microseconds."""

    state: State
    diagnostic: int = 0
    poll: bool = False
    final: bool = False
    demand: bool = False
    multiplier: int
    own: int
    """Discriminator of the sender."""
    yours: int
    """Discriminator of the receiver, if the sender knows it. Otherwise 0."""
    min_tx: int
    min_rx: int
    """0: the sender wants no packets."""


def encode(packet: Packet) -> bytes:
    """Return the UDP payload. Raises struct.error for a field that does not fit."""
    flags = _POLL * packet.poll | _FINAL * packet.final | _DEMAND * packet.demand
    return _PACKET.pack(
        *(_VERSION << 5 | packet.diagnostic, packet.state << 6 | flags, packet.multiplier, _PACKET.size),
        *(packet.own, packet.yours, packet.min_tx, packet.min_rx, 0),
    )


def decode(data: bytes) -> Packet:
    """Decode a packet, with the checks before the session is known (section 6.8.6). Raises BadPacketError."""
    if len(data) < _PACKET.size:
        raise BadPacketError(f"{len(data)} bytes are too few for a BFD control packet")
    first, second, multiplier, length, own, yours, min_tx, min_rx, _ = _PACKET.unpack_from(data)
    if first >> 5 != _VERSION:
        raise BadPacketError(f"BFD version {first >> 5} is not {_VERSION}")
    if second & _AUTHENTICATION:
        raise BadPacketError("it has authentication, which this session does not use")
    if not _PACKET.size <= length <= len(data):
        raise BadPacketError(f"its length field is {length}, but it has {len(data)} bytes")
    if multiplier == 0 or second & _MULTIPOINT or own == 0:
        raise BadPacketError("multiplier 0, the multipoint bit, or discriminator 0")
    state = State(second >> 6)
    if yours == 0 and state not in (State.DOWN, State.ADMIN_DOWN):
        raise BadPacketError(f"it has no session (your discriminator is 0) in state {state.name}")
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
