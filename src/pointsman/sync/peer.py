# SPDX-License-Identifier: Apache-2.0
"""One peer of a director: its session, both series of datagrams, and what to tell it next."""

from __future__ import annotations

import collections
from typing import NamedTuple

from pointsman.sync.streams import Inbound, Outbound, Piece
from pointsman.sync.wire import MOST_RANGES, BadDatagramError, Drop, Hello, Range

HELLO_INTERVAL = 1.0
"""Seconds between two Hellos of an idle director."""
SILENT_AFTER = 3.5
"""Seconds without a Hello after which a peer is silent; it then gets only Hellos."""
ACKNOWLEDGE_AFTER = 0.01
"""Seconds from the arrival of records to the Hello that acknowledges them."""
ACKNOWLEDGE_MOST = 32
"""Datagrams with records after which a Hello is sent at once."""
ASK_AFTER = 0.02
"""Seconds that a missing datagram may be late."""
ASK_INTERVAL = 0.1
_SESSIONS_REMEMBERED = 64


class Endpoint(NamedTuple):
    """Address and UDP port of a peer or a group."""

    address: str
    port: int


class Peer:
    """The state of one peer. All times are `now` of the caller, in seconds."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.session: int | None = None
        """Its session, confirmed by a Hello to ours. None: it has not answered yet."""
        self.outbound = Outbound()
        self.direct = Inbound(0)
        self.group = Inbound(0)
        self.group_acknowledged = 0
        """Everything before this number of our group series has arrived there."""
        self.heard: float | None = None
        """Time of its last valid Hello."""
        self.carried = 0
        self.stopping = False
        self.table_request = 0
        """Number of our request for its table; 0: we have it."""
        self.joined: float | None = None
        """Time at which its table was complete."""
        self.serving = 0
        """Number of its request for our table that is being served; 0: none."""
        self.tables_begun = 0
        """How often we began to send our table."""
        self.lost = 0
        """How often datagrams were missing that could not be sent again."""
        self.resent = 0
        self._served = 0
        self._requests = 0
        self._earlier: collections.deque[int] = collections.deque(maxlen=_SESSIONS_REMEMBERED)
        self._hello_received = -1
        self._hellos_sent = 0
        self._hello_at = float("-inf")
        self._acknowledge_at: float | None = None
        self._unacknowledged = 0
        self._asked_at = float("-inf")

    def is_silent(self, now: float) -> bool:
        """True if the peer has a session but says nothing any more, or has never answered."""
        return self.heard is None or now - self.heard > SILENT_AFTER

    # what arrives

    def begin(self, session: int, next_group: int) -> None:
        """Begin with a new session of the peer. Raises BadDatagramError for an earlier one."""
        if session in self._earlier:
            raise BadDatagramError(Drop.REPLAY)
        if self.session is not None:
            self._earlier.append(self.session)
        self.session = session
        self.outbound = Outbound()
        self.direct, self.group = Inbound(0), Inbound(next_group)
        self.group_acknowledged = 0
        self.serving = self._served = 0
        self._hello_received = -1
        self.request_table()

    def request_table(self) -> None:
        """Ask for the whole table of the peer with the next Hello, which is due at once."""
        self._requests += 1
        self.table_request = self._requests
        self.joined = None
        self._acknowledge_at = float("-inf")

    def on_hello(self, number: int, hello: Hello, now: float) -> list[Piece]:
        """Handle a Hello of the confirmed session. Return pieces that need not wait any more.

        Raises BadDatagramError for one that is not newer than the last.
        """
        if number <= self._hello_received:
            raise BadDatagramError(Drop.REPLAY)
        self._hello_received = number
        self.heard, self.carried, self.stopping = now, hello.carried, hello.stopping
        self.outbound.acknowledge(hello.expected_direct)
        self.group_acknowledged = max(self.group_acknowledged, hello.expected_group)
        if hello.table_request and hello.table_request != self._served:
            self.serving = self._served = hello.table_request
            self.tables_begun += 1
        if hello.answer:
            self._acknowledge_at = float("-inf")
        found = self._compare(self.direct, hello.next_direct, hello.oldest_direct, now)
        return found + self._compare(self.group, hello.next_group, hello.oldest_group, now)

    def _compare(self, inbound: Inbound, following: int, oldest: int, now: float) -> list[Piece]:
        inbound.exists(following, now)
        if oldest <= inbound.expected:
            return []
        self.lost += 1
        self.request_table()
        return inbound.give_up(oldest, now)

    def receive(self, number: int, piece: Piece, group: bool, now: float) -> list[Piece]:
        """Return the pieces that are in order now. Raises BadDatagramError."""
        found = (self.group if group else self.direct).receive(number, piece, now)
        self._unacknowledged += 1
        if self._acknowledge_at is None:
            self._acknowledge_at = now + ACKNOWLEDGE_AFTER
        return found

    def on_table_end(self, number: int, now: float) -> None:
        """Note that the table we asked for is complete."""
        if number == self.table_request:
            self.table_request, self.joined = 0, now

    # what to tell

    def hello_due(self) -> float:
        """Return the time of the next Hello."""
        if self._unacknowledged >= ACKNOWLEDGE_MOST:
            return float("-inf")
        due = [self._hello_at + HELLO_INTERVAL]
        if self._acknowledge_at is not None:
            due.append(self._acknowledge_at)
        since = [each.missing_since for each in (self.direct, self.group) if each.missing_since is not None]
        if since and self.session is not None:
            due.append(max(min(since) + ASK_AFTER, self._asked_at + ASK_INTERVAL))
        return min(due)

    def hello(self, group: Outbound, carried: int, now: float, *, answer: bool, stopping: bool) -> Hello:
        """Return the next Hello, which acknowledges and asks for what is missing."""
        self._hello_at, self._acknowledge_at, self._unacknowledged = now, None, 0
        missing = self._missing(now)
        if missing:
            self._asked_at = now
        return Hello(
            next_direct=self.outbound.next,
            next_group=group.next,
            oldest_direct=self.outbound.oldest,
            oldest_group=group.oldest,
            expected_direct=self.direct.expected,
            expected_group=self.group.expected,
            carried=carried,
            table_request=self.table_request,
            answer=answer,
            stopping=stopping,
            missing=tuple(missing),
        )

    def next_hello_number(self) -> int:
        """Return the sequence number of a Hello that is sent now."""
        self._hellos_sent += 1
        return self._hellos_sent - 1

    def _missing(self, now: float) -> list[Range]:
        found: list[Range] = []
        for inbound, is_group in ((self.direct, False), (self.group, True)):
            since = inbound.missing_since
            if since is not None and now >= since + ASK_AFTER:
                found += inbound.missing(is_group, MOST_RANGES // 2)
        return found
