# SPDX-License-Identifier: Apache-2.0
"""Two sync processes on the loopback interface, each with tables in memory."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from pointsman.control import messages
from pointsman.control.status import SyncStatus
from pointsman.control.sync_messages import HandedOver, HandOver, SyncReport
from pointsman.daemon.sync.process import PAGE, SyncProcess
from pointsman.daemon.sync.real_servers import Question
from pointsman.dataplane.interface import Outbox, TakeCounts
from pointsman.model.config import Config, ConnectionSync, SyncPeer
from pointsman.sync.wire import RECORD_SIZE

LOOPBACK = ipaddress.ip_address("127.0.0.1")
DEADLINE = 30.0


class Ring:
    """An Outbox with what a test writes into it."""

    def __init__(self) -> None:
        self.lost = 0
        self.waiting: list[bytes] = []

    def read(self) -> list[bytes]:
        found, self.waiting = self.waiting, []
        return found


class Tables:
    """A RecordExchange of a table that is a list of records."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.outbox: Outbox = self.ring
        self.sync = False
        self.held: list[bytes] = []
        self.live: list[bytes] = []
        self.joined: list[bytes] = []

    def take(self, records: bytes | memoryview, ours: bool = False, live: bool = False) -> TakeCounts:
        found = [bytes(records[at : at + RECORD_SIZE]) for at in range(0, len(records), RECORD_SIZE)]
        (self.live if live else self.joined).extend(found)
        return TakeCounts(added=len(found))

    def give(self, cursor: int = 0, carried: bool = False) -> tuple[bytes, int]:
        page = self.held[cursor : cursor + PAGE]
        following = cursor + len(page)
        return b"".join(page), 0 if following >= len(self.held) else following


class Director:
    """A sync process with its tables, and the director's end of its channel."""

    def __init__(self, port: int, peer: int, secret: bytes = b"0123456789abcdef") -> None:
        self.tables = Tables()
        self.channel, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = ConnectionSync(
            peers=(SyncPeer(LOOPBACK, peer),), key_file="f", secret=secret, port=port, bind_address=LOOPBACK
        )
        self.failures = 0
        config = Config(router_id="lb", sync=settings)
        self.process = SyncProcess(config, self._open, Question(self._open), end)
        self.end = end

    def _open(self) -> Tables:
        if self.failures:
            self.failures -= 1
            raise FileNotFoundError(2, "no director's tables")
        return self.tables

    def report(self) -> SyncStatus:
        """Return the state in the last report."""
        last: SyncStatus | None = None
        while True:
            try:
                message = messages.sync_report_decoder.decode(self.channel.recv(65536, socket.MSG_DONTWAIT))
                last = message.status if isinstance(message, SyncReport) else last
            except BlockingIOError:
                break
        assert last is not None
        return last

    def close(self) -> None:
        self.channel.close()
        self.end.close()
        if self.process._sockets is not None:
            self.process._sockets.close()


def free_ports() -> tuple[int, int]:
    with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture
def pair() -> Iterator[tuple[Director, Director]]:
    one, two = free_ports()
    directors = Director(one, two), Director(two, one)
    yield directors
    for each in directors:
        each.close()


def turn_until(directors: tuple[Director, ...], done: Callable[[], bool]) -> None:
    """Let the processes turn one after the other until something is so."""
    end = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < end
        for each in directors:
            each.process._loop.turn(each.process)


def record(number: int) -> bytes:
    return number.to_bytes(RECORD_SIZE, "big")


def test_changes_and_whole_tables_go_both_ways(pair: tuple[Director, Director]) -> None:
    first, second = pair
    first.tables.held = [record(number) for number in range(3 * PAGE + 5)]
    second.tables.held = [record(1 << 20)]
    turn_until(pair, lambda: len(second.tables.joined) == 3 * PAGE + 5 and bool(first.tables.joined))
    assert second.tables.joined == first.tables.held
    assert first.tables.sync and second.tables.sync
    first.tables.ring.waiting = [record(7) + record(8), record(9)]
    turn_until(pair, lambda: len(second.tables.live) == 3)
    assert second.tables.live == [record(7), record(8), record(9)]


def test_the_director_hears_of_peers_and_records(pair: tuple[Director, Director]) -> None:
    first, second = pair
    turn_until(pair, lambda: bool(first.process._exchange.peers["127.0.0.1"].joined))
    first.tables.ring.waiting = [record(7)]
    turn_until(pair, lambda: len(second.tables.live) == 1)
    first.process._report(time.monotonic())
    second.process._report(time.monotonic())
    said, heard = first.report(), second.report()
    assert said.sent == 1 and said.peers[0].complete and said.peers[0].heard is not None
    assert heard.received == 1 and heard.taken == {"added": 1}


def test_tables_that_are_not_there_yet_are_opened_later(pair: tuple[Director, Director]) -> None:
    pair[0].failures = 1
    turn_until(pair, lambda: bool(pair[0].process._error))
    pair[0].process._report(time.monotonic())
    (problem,) = pair[0].report().problems
    assert "no director's tables" in problem
    turn_until(pair, lambda: pair[0].tables.sync)
    assert not pair[0].process._error


def test_a_hand_over_is_answered_when_the_peer_has_everything(pair: tuple[Director, Director]) -> None:
    first, second = pair
    turn_until(pair, lambda: bool(first.process._exchange.peers["127.0.0.1"].joined))
    first.tables.ring.waiting = [record(7)]
    first.channel.send(messages.encode(HandOver(5.0)))
    first.process._on_order()
    answers: list[HandedOver] = []

    def answered() -> bool:
        with contextlib.suppress(BlockingIOError):
            message = messages.sync_report_decoder.decode(first.channel.recv(65536, socket.MSG_DONTWAIT))
            if isinstance(message, HandedOver):
                answers.append(message)
        return bool(answers)

    turn_until(pair, answered)
    assert second.tables.live == [record(7)]
    assert answers == [HandedOver(())]


def test_another_key_is_counted(pair: tuple[Director, Director]) -> None:
    first, second = pair
    second.process._reconfigure(
        ConnectionSync(
            peers=second.process._settings.peers,
            key_file="g",
            secret=b"another secret of 16",
            port=second.process._settings.port,
            bind_address=LOOPBACK,
        )
    )
    turn_until(pair, lambda: bool(first.process._exchange.drops))
    first.process._report(time.monotonic())
    assert first.report().dropped.keys() == {"wrong key"}
