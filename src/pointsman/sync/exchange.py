# SPDX-License-Identifier: Apache-2.0
"""Send connections to the peers of a director, and receive theirs.

Pure: datagrams and the time in, datagrams out.


A session is a random number of one start. A peer's session counts after a Hello of it that names ours, so a
recorded datagram of an earlier start is of no use. Records are passed on in order. What is missing is asked
for. What the sender has forgotten makes the receiver ask for the whole table. It is sent in pieces: WINDOW
datagrams may be under way, and the others wait for an acknowledgement.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pointsman.sync.peer import Endpoint, Peer
from pointsman.sync.streams import Outbound, Piece
from pointsman.sync.wire import (
    MOST_RECORDS,
    RECORD_SIZE,
    BadDatagramError,
    Datagram,
    Drop,
    Hello,
    Kind,
    decode,
    decode_hello,
    encode,
    encode_hello,
)

WINDOW = 512
"""Datagrams of a table that may be under way to one peer."""
MOST_AGAIN = 1024
"""Datagrams that are sent again for one Hello at most."""
ANSWERS_A_SECOND = 10
"""Answers to Hellos of sessions that are not confirmed, for each peer."""
_PIECE = MOST_RECORDS * RECORD_SIZE


class Outgoing(NamedTuple):
    """A datagram to send."""

    endpoint: Endpoint
    data: bytes


class Job(NamedTuple):
    """A peer that waits for more of our table."""

    endpoint: Endpoint
    begun: int
    """How often a table was begun for this peer. Another number begins at the start of the table."""
    room: int
    """Records that may be sent now."""


class Exchange:
    """All peers of a director. Times are seconds of one clock that only goes forward."""

    def __init__(
        self, key: bytes, session: int, peers: Iterable[Endpoint], group: Endpoint | None = None
    ) -> None:
        """`session`: a random number above 0, another one at each start."""
        self._key = key
        self._session = session
        self._group = group
        self._group_stream = Outbound()
        self.peers = {endpoint.address: Peer(endpoint) for endpoint in peers}
        """By address."""
        self.drops: collections.Counter[Drop] = collections.Counter()
        self.carried = 0
        """Connections that this director carries, for the peers' status."""
        self._stopping = False
        self._answered: dict[str, collections.deque[float]] = {}
        self._outgoing: list[Outgoing] = []

    # in

    def receive(self, address: str, data: bytes, now: float) -> list[Piece]:
        """Handle a datagram. Return the records (LIVE or TABLE) to put into the connection table.

        A bad datagram is counted in `drops`.
        """
        peer = self.peers.get(address)
        try:
            if peer is None:
                raise BadDatagramError(Drop.PEER)
            return self._pieces(peer, decode(self._key, data), now)
        except BadDatagramError as error:
            self.drops[error.drop] += 1
            return []

    def _pieces(self, peer: Peer, datagram: Datagram, now: float) -> list[Piece]:
        if datagram.kind is Kind.HELLO:
            found = self._on_hello(peer, datagram, now)
        else:
            group = datagram.to == 0
            if datagram.session != peer.session or not (group or datagram.to == self._session):
                raise BadDatagramError(Drop.SESSION)
            piece = Piece(datagram.kind, datagram.body)
            found = peer.receive(datagram.sequence, piece, group, now)
        for piece in found:
            if piece.kind is Kind.TABLE_END:
                peer.on_table_end(int.from_bytes(piece.body[:8], "big"), now)
        return [piece for piece in found if piece.kind is not Kind.TABLE_END]

    def _on_hello(self, peer: Peer, datagram: Datagram, now: float) -> list[Piece]:
        hello = decode_hello(datagram.body)
        if datagram.to != self._session:
            self._introduce(peer, datagram.session, now)
            if datagram.to:
                raise BadDatagramError(Drop.SESSION)
            return []
        if datagram.session != peer.session:
            peer.begin(datagram.session, hello.next_group)
        found = peer.on_hello(datagram.sequence, hello, now)
        self._send_again(peer, hello)
        return found

    def _introduce(self, peer: Peer, session: int, now: float) -> None:
        """Introduce ourselves to a session that does not know ours. It is believed once it answers."""
        times = self._answered.setdefault(peer.endpoint.address, collections.deque(maxlen=ANSWERS_A_SECOND))
        if len(times) == ANSWERS_A_SECOND and now - times[0] < 1.0:
            return
        times.append(now)
        hello = Hello(next_group=self._group_stream.next, oldest_group=self._group_stream.next, answer=True)
        self._send_hello(peer, session, hello)

    def _send_again(self, peer: Peer, hello: Hello) -> None:
        found: list[bytes] = []
        for each in hello.missing:
            found += (self._group_stream if each.group else peer.outbound).again(each)
        peer.resent += len(found[:MOST_AGAIN])
        self._outgoing += [Outgoing(peer.endpoint, data) for data in found[:MOST_AGAIN]]

    # out

    def send_live(self, records: bytes | memoryview, now: float) -> None:
        """Send records of connections that have changed to all peers that listen."""
        for start in range(0, len(records), _PIECE):
            body = bytes(records[start : start + _PIECE])
            if self._group is not None:
                self._send_to_group(body)
                continue
            for peer in self.peers.values():
                if peer.session is None:
                    continue
                if peer.is_silent(now):
                    peer.outbound.skip()
                else:
                    self._send(peer, Kind.LIVE, body)

    def note_lost(self) -> None:
        """Note that records were lost before they could be sent: the peers will ask for the whole table."""
        self._group_stream.skip()
        for peer in self.peers.values():
            peer.outbound.skip()

    def tables(self, now: float) -> list[Job]:
        """Return the peers that wait for our table and have room for more of it."""
        return [
            Job(peer.endpoint, peer.tables_begun, (WINDOW - peer.outbound.in_flight) * MOST_RECORDS)
            for peer in self.peers.values()
            if peer.serving and peer.outbound.in_flight < WINDOW and not peer.is_silent(now)
        ]

    def send_table(self, job: Job, records: bytes | memoryview, *, end: bool) -> None:
        """Send the next records of the table to a peer. `end`: these are the last ones."""
        peer = self.peers[job.endpoint.address]
        if not peer.serving or peer.tables_begun != job.begun:
            return
        for start in range(0, len(records), _PIECE):
            self._send(peer, Kind.TABLE, bytes(records[start : start + _PIECE]))
        if end:
            self._send(peer, Kind.TABLE_END, peer.serving.to_bytes(8, "big"))
            peer.serving = 0

    def stop(self, now: float) -> None:
        """Say that this director stops."""
        self._stopping = True
        self._hello_all(now)

    @property
    def deadline(self) -> float:
        """Time of the next call of `advance`."""
        return min((peer.hello_due() for peer in self.peers.values()), default=float("inf"))

    def advance(self, now: float) -> None:
        """Send the Hellos that are due."""
        for peer in self.peers.values():
            if peer.hello_due() <= now:
                self._say_hello(peer, now)

    def outgoing(self) -> Sequence[Outgoing]:
        """Return the datagrams to send, once."""
        found, self._outgoing = self._outgoing, []
        return found

    # hand-over

    def mark(self, now: float) -> dict[str, tuple[int, int]]:
        """Return what the listening peers must acknowledge to have everything that was sent until now.

        They are asked to do it at once.
        """
        marks = {
            address: (peer.outbound.next, self._group_stream.next)
            for address, peer in self.peers.items()
            if peer.session is not None and not peer.is_silent(now)
        }
        self._hello_all(now)
        return marks

    def behind(self, marks: dict[str, tuple[int, int]], now: float) -> list[str]:
        """Return the addresses of the peers that have not acknowledged this mark, without silent ones."""
        return [
            address
            for address, (direct, group) in marks.items()
            if not (peer := self.peers[address]).is_silent(now)
            and (
                peer.outbound.acknowledged < direct
                or (self._group is not None and peer.group_acknowledged < group)
            )
        ]

    def _hello_all(self, now: float) -> None:
        for peer in self.peers.values():
            self._say_hello(peer, now, answer=True)

    def _say_hello(self, peer: Peer, now: float, *, answer: bool = False) -> None:
        hello = peer.hello(self._group_stream, self.carried, now, answer=answer, stopping=self._stopping)
        self._send_hello(peer, peer.session or 0, hello)

    def _send_hello(self, peer: Peer, to: int, hello: Hello) -> None:
        number, body = peer.next_hello_number(), encode_hello(hello)
        self._outgoing.append(
            Outgoing(peer.endpoint, encode(self._key, Kind.HELLO, self._session, to, number, body))
        )

    def _send(self, peer: Peer, kind: Kind, body: bytes) -> None:
        if peer.session is None:
            return
        data = encode(self._key, kind, self._session, peer.session, peer.outbound.next, body)
        peer.outbound.keep(data)
        self._outgoing.append(Outgoing(peer.endpoint, data))

    def _send_to_group(self, body: bytes) -> None:
        assert self._group is not None
        data = encode(self._key, Kind.LIVE, self._session, 0, self._group_stream.next, body)
        self._group_stream.keep(data)
        self._outgoing.append(Outgoing(self._group, data))
