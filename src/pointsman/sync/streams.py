# SPDX-License-Identifier: Apache-2.0
"""The two ends of a numbered series of datagrams: one keeps what it sent, the other finds what is missing."""

from __future__ import annotations

from typing import NamedTuple

from pointsman.sync.wire import MOST_IN_A_RANGE, BadDatagramError, Drop, Kind, Range

HISTORY = 4096
"""Datagrams that are kept for sending again: about 5.5 MiB for each peer at most."""
MOST_HELD = 2048
"""Datagrams that wait for a missing one at most."""


class Piece(NamedTuple):
    """The body of a datagram with records, or the number of a request whose table has ended."""

    kind: Kind
    body: bytes


class Outbound:
    """Series of datagrams that were sent. The oldest are forgotten, acknowledged or not."""

    def __init__(self) -> None:
        self.next = 0
        self.acknowledged = 0
        """Everything before this number has arrived."""
        self._sent: dict[int, bytes] = {}

    @property
    def oldest(self) -> int:
        """The oldest number that can be sent again."""
        return next(iter(self._sent), self.next)

    @property
    def in_flight(self) -> int:
        """Datagrams that are not acknowledged."""
        return self.next - self.acknowledged

    def keep(self, datagram: bytes) -> None:
        """Keep the datagram that has the number `next`."""
        self._sent[self.next] = datagram
        self.next += 1
        if len(self._sent) > HISTORY:
            del self._sent[next(iter(self._sent))]

    def skip(self) -> None:
        """Leave out a number, because records were lost. The receiver then asks for the whole table."""
        self._sent.clear()
        self.next += 1

    def acknowledge(self, expected: int) -> None:
        """Note that everything before `expected` has arrived, and forget it."""
        for number in range(self.acknowledged, min(expected, self.next)):
            self._sent.pop(number, None)
        self.acknowledged = max(self.acknowledged, min(expected, self.next))

    def again(self, missing: Range) -> list[bytes]:
        """Return the datagrams of a range that are still kept."""
        numbers = range(missing.first, missing.first + missing.length)
        return [self._sent[number] for number in numbers if number in self._sent]


class Inbound:
    """Series of datagrams that arrive. Pieces are passed on in order, each once."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        """The next number; everything before it was passed on or given up."""
        self.highest = expected
        """No number from here on is known to exist."""
        self.missing_since: float | None = None
        self._held: dict[int, Piece] = {}

    def receive(self, number: int, piece: Piece, now: float) -> list[Piece]:
        """Return the pieces that are in order now. Raises BadDatagramError."""
        if number < self.expected or number in self._held:
            raise BadDatagramError(Drop.REPLAY)
        if number >= self.expected + MOST_HELD:
            raise BadDatagramError(Drop.AHEAD)
        self._held[number] = piece
        self.highest = max(self.highest, number + 1)
        return self._in_order(now)

    def exists(self, following: int, now: float) -> None:
        """Note that the peer has sent everything before `following`."""
        self.highest = max(self.highest, following)
        self._note_missing(now)

    def give_up(self, oldest: int, now: float) -> list[Piece]:
        """Stop waiting for what is older than `oldest`. Return the pieces that are in order now."""
        found = [self._held.pop(number) for number in sorted(self._held) if number < oldest]
        self.expected = max(self.expected, oldest)
        self.highest = max(self.highest, oldest)
        return found + self._in_order(now)

    def missing(self, group: bool, most: int) -> list[Range]:
        """Return the missing numbers, in `most` ranges at most."""
        ranges: list[Range] = []
        first = self.expected
        for number in [*sorted(self._held), self.highest]:
            while first < number and len(ranges) < most:
                length = min(number - first, MOST_IN_A_RANGE)
                ranges.append(Range(first, length, group))
                first += length
            if len(ranges) >= most:
                break
            first = number + 1
        return ranges

    def _in_order(self, now: float) -> list[Piece]:
        found = []
        while self.expected in self._held:
            found.append(self._held.pop(self.expected))
            self.expected += 1
        if found:
            self.missing_since = None
        self._note_missing(now)
        return found

    def _note_missing(self, now: float) -> None:
        if self.expected >= self.highest:
            self.missing_since = None
        elif self.missing_since is None:
            self.missing_since = now
