# SPDX-License-Identifier: Apache-2.0
"""TCP client as a machine over frames: handshake, one request, the answer in order, a reset.

It is limited to one request. It accepts segments in order only (later ones are repeated by the sender),
and sends the whole request at once.
"""

from __future__ import annotations

import enum
import struct

from pointsman.health import segments
from pointsman.health.segments import Ends, Segment
from pointsman.packets.tcp import ACK, FIN, PUSH, RST, SYN

PIECE = 536
"""Bytes of the request per segment: every IPv4 host accepts this size (RFC 9293 section 3.7.1)."""
_LARGEST_SEGMENT = struct.pack("!BBH", 2, 4, 1200)
"""Option with the largest segment that we accept, small enough for any link."""
_HALF = 1 << 31


class Phase(enum.Enum):
    """State of the connection."""

    OPENING = "opening"
    OPEN = "open"
    REFUSED = "refused"
    ENDED = "ended"
    """The other end has sent everything."""
    RESET = "reset"


def _later(one: int, other: int) -> int:
    """Return how far a sequence number is after another. Negative: before it."""
    return (one - other + _HALF & 0xFFFFFFFF) - _HALF


class TcpClient:
    """One connection. Every method returns the frames to send."""

    def __init__(self, ends: Ends, sequence: int, request: bytes = b"") -> None:
        """Create a client. `sequence` is the first one, chosen at random. Without a request it only does the
        handshake."""
        self._ends = ends
        self._first = sequence + 1 & 0xFFFFFFFF
        self._request = request
        self._sent = 0
        """Bytes of the request that were sent."""
        self._confirmed = 0
        """Bytes of the request that the other end has acknowledged."""
        self._expected = 0
        """Next sequence number of the other end."""
        self._received = bytearray()
        self.phase = Phase.OPENING

    def syn(self) -> bytes:
        """Return the first segment of the handshake."""
        return segments.build_frame(self._ends, SYN, self._first - 1 & 0xFFFFFFFF, options=_LARGEST_SEGMENT)

    def retransmit(self) -> list[bytes]:
        """Return the segments without an answer again."""
        if self.phase is Phase.OPENING:
            return [self.syn()]
        return self._unacknowledged_segments() if self.phase is Phase.OPEN else []

    def on_frame(self, frame: bytes) -> list[bytes]:
        """Process a received frame. It may contain anything."""
        segment = segments.parse_frame(self._ends, frame)
        if segment is None or segment.sender != self._ends.their_mac:
            return []
        if self.phase is Phase.OPENING:
            return self._handshake(segment)
        return self._continue(segment) if self.phase is Phase.OPEN else []

    def received(self) -> bytes:
        """Return the bytes of the answer since the last call."""
        taken, self._received = bytes(self._received), bytearray()
        return taken

    def close(self) -> list[bytes]:
        """Return resets, so that the other end keeps no state. One is at the sequence number that it
        expects."""
        if self.phase in (Phase.REFUSED, Phase.RESET):
            return []
        places = {self._first + self._confirmed, self._first + self._sent}
        return [segments.build_frame(self._ends, RST, place & 0xFFFFFFFF) for place in sorted(places)]

    def _handshake(self, segment: Segment) -> list[bytes]:
        if not segment.flags & ACK or segment.acknowledged != self._first:
            return []
        if segment.flags & RST:
            self.phase = Phase.REFUSED
            return []
        if not segment.flags & SYN:
            return []
        self.phase = Phase.OPEN
        self._expected = segment.sequence + 1 & 0xFFFFFFFF
        self._sent = len(self._request)
        return self._unacknowledged_segments() if self._request else []

    def _continue(self, segment: Segment) -> list[bytes]:
        before = _later(self._expected, segment.sequence)
        """Bytes of the segment that were received before, if positive."""
        if segment.flags & RST:
            if -segments.WINDOW <= before <= 0:
                self.phase = Phase.RESET
            return []
        if segment.flags & ACK:
            self._confirm(segment.acknowledged)
        if segment.flags & SYN:  # our acknowledgement was lost
            return self._unacknowledged_segments() or [self._acknowledgement()]
        if not segment.data and not segment.flags & FIN:
            return []
        if 0 <= before <= len(segment.data):
            new = segment.data[before:]
            self._received += new
            self._expected = self._expected + len(new) & 0xFFFFFFFF
            if segment.flags & FIN:
                self._expected = self._expected + 1 & 0xFFFFFFFF
                self.phase = Phase.ENDED
        return [self._acknowledgement()]

    def _confirm(self, acknowledged: int) -> None:
        confirmed = _later(acknowledged, self._first)
        if self._confirmed < confirmed <= self._sent:
            self._confirmed = confirmed

    def _acknowledgement(self) -> bytes:
        return segments.build_frame(self._ends, ACK, self._first + self._sent & 0xFFFFFFFF, self._expected)

    def _unacknowledged_segments(self) -> list[bytes]:
        """Return the part of the request that is not acknowledged."""
        return [
            segments.build_frame(
                self._ends,
                PUSH | ACK,
                self._first + at & 0xFFFFFFFF,
                self._expected,
                self._request[at : at + PIECE],
            )
            for at in range(self._confirmed, len(self._request), PIECE)
        ]
