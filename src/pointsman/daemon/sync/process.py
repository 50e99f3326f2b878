# SPDX-License-Identifier: Apache-2.0
"""The sync process: sends the connections that this director carries to its peers, and holds theirs.

The packet path writes records of connections that change into a ring, which is read every PAUSE. What
arrives goes to the program that puts records into the tables. Both ways it is whole runs of bytes: no
connection is looked at.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from pointsman.control import messages
from pointsman.control.status import SyncPeerStatus, SyncStatus
from pointsman.control.sync_messages import HandedOver, HandOver, SyncReport
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.sync.real_servers import Question
from pointsman.daemon.sync.sockets import SyncSockets
from pointsman.dataplane.interface import RecordExchange
from pointsman.model.config import Config, ConnectionSync
from pointsman.sync.exchange import Exchange, Job
from pointsman.sync.peer import Endpoint, Peer
from pointsman.sync.streams import Piece
from pointsman.sync.wire import MOST_RECORDS, RECORD_SIZE, Kind, key_of

log = logging.getLogger("sync")

PAUSE = 0.04
"""Seconds between two looks into the ring: a connection is sent at most so much later."""
REPORT_INTERVAL = 1.0
RETRY = 1.0
"""Seconds between two attempts to open tables or sockets."""
PAGE = 1024
"""Records that one call of `give` returns at most."""
PAGES_AT_ONCE = 4
"""Pages of the table that are sent in one turn, so that events do not wait."""


def run(
    config: Config,
    open_tables: Callable[[], RecordExchange],
    open_for_answers: Callable[[], RecordExchange],
    director: socket.socket,
    heartbeat: Heartbeat | None = None,
    serial: int = 0,
) -> int:
    """Synchronise as connection_sync says until SIGTERM. Return the exit code 0.

    `open_tables` opens the tables of the director; it may raise OSError, and is then called again.
    `open_for_answers` opens them for the answers of real servers.
    """
    SyncProcess(config, open_tables, Question(open_for_answers), director, heartbeat, serial).run()
    return 0


class SyncProcess:
    """Tables, sockets and the exchange between them."""

    def __init__(
        self,
        config: Config,
        open_tables: Callable[[], RecordExchange],
        question: Question,
        director: socket.socket,
        heartbeat: Heartbeat | None = None,
        serial: int = 0,
    ) -> None:
        assert config.sync is not None
        self._config, self._settings = config, config.sync
        self._question = question
        self._silent = 0
        """Number of silent peers at the last look."""
        self._open_tables = open_tables
        self._director = director
        self._inbox = Inbox(director, messages.sync_order_decoder, "director", log, serial)
        self._loop = EventLoop(time.monotonic, log, heartbeat)
        self._once = LogOnce(log)
        self._tables: RecordExchange | None = None
        self._sockets: SyncSockets | None = None
        self._exchange = _exchange(self._settings)
        self._cursors: dict[str, tuple[int, int]] = {}
        """For each peer that gets our table: which request, and where it goes on."""
        self._look_at = self._report_at = self._open_at = time.monotonic()
        self._hand_over: tuple[dict[str, tuple[int, int]], float] | None = None
        """The hand-over under way: what the peers must acknowledge, and until when."""
        self._error = ""
        self._sent = self._received = 0
        self._overrun = 0
        self._taken: collections.Counter[str] = collections.Counter()

    def run(self) -> None:
        """Work until SIGTERM, then send what is left."""
        self._loop.stop_on(signal.SIGTERM, signal.SIGINT)
        self._loop.watch(self._director, self._on_order)
        while not self._loop.stopping:
            self._loop.turn(self)
        self._send_events(time.monotonic())
        self._exchange.stop(time.monotonic())
        self._transmit()

    # timers

    @property
    def deadline(self) -> float:
        """Time of the next call of `advance`."""
        if self._tables is None or self._sockets is None:
            return self._open_at
        until = self._hand_over[1] if self._hand_over else self._report_at
        return min(self._look_at, self._report_at, self._exchange.deadline, until)

    def advance(self, now: float) -> None:
        """Open what is missing, or read the ring and send what is due."""
        if self._tables is None or self._sockets is None:
            self._open(now)
        else:
            self._send_events(now)
            self._exchange.advance(now)
            busy = self._send_tables(now)
            self._transmit()
            self._look_at = now if busy else now + PAUSE
            self._look_for_silence(now)
        self._answer_hand_over(now)
        if now >= self._report_at:
            self._report_at = now + REPORT_INTERVAL
            self._report(now)

    def _look_for_silence(self, now: float) -> None:
        """Ask the real servers when a peer falls silent: it may have carried what we do not know of."""
        silent = sum(peer.is_silent(now) for peer in self._exchange.peers.values())
        if silent > self._silent:
            self._question.ask(self._config, now)
        self._silent = silent

    def _open(self, now: float) -> None:
        self._open_at = now + RETRY
        try:
            if self._tables is None:
                self._tables = self._open_tables()
            if self._sockets is None:
                self._sockets = SyncSockets(self._settings)
                for each in self._sockets.all:
                    self._loop.watch(each, partial(self._on_readable, each))
        except OSError as error:
            self._error = f"connection_sync does not work: {error.strerror or error}"
            self._once.error("open", "%s; trying again every %.0f s", self._error, RETRY)
            return
        self._tables.sync = True
        self._error = ""
        self._once.clear()
        self._look_at = now
        peers = ", ".join(str(peer.address) for peer in self._settings.peers)
        log.info("connections are sent to %s, port %d here", peers, self._settings.port)

    # the data plane to the network

    def _send_events(self, now: float) -> None:
        if self._tables is None:
            return
        outbox = self._tables.outbox
        for run_ in outbox.read():
            self._sent += len(run_) // RECORD_SIZE
            self._exchange.send_live(run_, now)
        if outbox.lost > self._overrun:
            self._overrun = outbox.lost
            self._exchange.note_lost()
            self._once.warning(
                "overrun", "changes of connections were lost before they were read: sending the whole table"
            )

    def _send_tables(self, now: float) -> bool:
        """Send more of the table to those that wait for it. Return True if there is more to send at once."""
        jobs = [job for job in self._exchange.tables(now) if job.room >= PAGE + MOST_RECORDS]
        for job in jobs:
            self._send_table(job)
        return bool(jobs)

    def _send_table(self, job: Job) -> None:
        assert self._tables is not None
        begun, cursor = self._cursors.get(job.endpoint.address, (0, 0))
        cursor = cursor if begun == job.begun else 0
        for _ in range(min(PAGES_AT_ONCE, job.room // (PAGE + MOST_RECORDS))):
            records, cursor = self._tables.give(cursor)
            self._exchange.send_table(job, records, end=not cursor)
            if not cursor:
                break
        self._cursors[job.endpoint.address] = job.begun, cursor

    def _transmit(self) -> None:
        outgoing = self._exchange.outgoing()
        if self._sockets is None:
            return
        for endpoint, data in outgoing:
            try:
                self._sockets.send(endpoint.address, endpoint.port, data)
            except OSError as error:  # it is asked for, and sent again
                if not isinstance(error, BlockingIOError | ConnectionRefusedError):
                    text = "cannot send to %s: %s"
                    self._once.warning(endpoint.address, text, endpoint.address, error.strerror)

    # the network to the data plane

    def _on_readable(self, readable: socket.socket) -> None:
        if self._sockets is None or self._tables is None:
            return
        now = time.monotonic()
        missing = self._missing_tables()
        pieces: list[Piece] = []
        for address, data in self._sockets.receive(readable):
            pieces += self._exchange.receive(address, data, now)
        for kind, run_ in itertools.groupby(pieces, key=lambda piece: piece.kind):
            self._take(b"".join(piece.body for piece in run_), live=kind is Kind.LIVE)
        self._transmit()
        self._answer_hand_over(now)
        if missing != self._missing_tables():
            self._report(now)

    def _missing_tables(self) -> int:
        return sum(peer.joined is None for peer in self._exchange.peers.values())

    def _take(self, records: bytes, *, live: bool) -> None:
        assert self._tables is not None
        self._received += len(records) // RECORD_SIZE
        counts = self._tables.take(records, live=live)
        self._taken.update(msgspec.structs.asdict(counts))

    # the director

    def _on_order(self) -> None:
        match self._inbox.receive():
            case messages.NewConfiguration(config=Config(sync=ConnectionSync() as settings) as config):
                self._config = config
                self._reconfigure(settings)
            case messages.Resync():
                self._report_at = time.monotonic()
            case HandOver(seconds=seconds):
                self._begin_hand_over(time.monotonic(), seconds)
        if self._inbox.closed:
            self._loop.unwatch(self._director)

    def _begin_hand_over(self, now: float, seconds: float) -> None:
        self._send_events(now)
        self._hand_over = self._exchange.mark(now), now + seconds
        self._transmit()
        self._answer_hand_over(now)

    def _answer_hand_over(self, now: float) -> None:
        """Answer when all peers have what was sent before the hand-over, or when its time is over."""
        if self._hand_over is None:
            return
        marks, until = self._hand_over
        behind = self._exchange.behind(marks, now)
        if not behind or now >= until:
            self._hand_over = None
            self._tell(HandedOver(tuple(behind)))

    def _reconfigure(self, settings: ConnectionSync) -> None:
        """Use other settings. Peers see another session, and ask for the whole table."""
        if msgspec.structs.replace(settings, location=None) == msgspec.structs.replace(
            self._settings, location=None
        ):
            return
        self._exchange.stop(time.monotonic())
        self._transmit()
        if self._sockets is not None:
            for each in self._sockets.all:
                self._loop.unwatch(each)
            self._sockets.close()
            self._sockets = None
        self._settings, self._exchange = settings, _exchange(settings)
        self._open_at = time.monotonic()

    def _report(self, now: float) -> None:
        status = SyncStatus(
            peers=tuple(_peer_status(peer, now) for peer in self._exchange.peers.values()),
            sent=self._sent,
            received=self._received,
            taken={name: number for name, number in self._taken.items() if number},
            dropped={drop.value: number for drop, number in self._exchange.drops.items()},
            overrun=self._overrun,
            problems=(self._error,) if self._error else (),
        )
        self._tell(SyncReport(status, time.clock_gettime(time.CLOCK_BOOTTIME), self._question.is_open))

    def _tell(self, message: SyncReport | HandedOver) -> None:
        with contextlib.suppress(OSError):
            self._director.send(messages.encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _exchange(settings: ConnectionSync) -> Exchange:
    peers: Sequence[Endpoint] = [Endpoint(str(peer.address), peer.port) for peer in settings.peers]
    group = None if settings.group is None else Endpoint(str(settings.group), settings.port)
    return Exchange(key_of(settings.secret), secrets.randbits(64) | 1, peers, group)


def _peer_status(peer: Peer, now: float) -> SyncPeerStatus:
    return SyncPeerStatus(
        address=peer.endpoint.address,
        heard=None if peer.heard is None else now - peer.heard,
        complete=peer.joined is not None,
        behind=peer.outbound.in_flight,
        carried=peer.carried,
        lost=peer.lost,
        resent=peer.resent,
    )
