# SPDX-License-Identifier: Apache-2.0
"""Directors that send each other their connections, over a network that loses, repeats and reorders."""

from __future__ import annotations

import random

import pytest

from pointsman.sync.exchange import WINDOW, Exchange
from pointsman.sync.peer import HELLO_INTERVAL, SILENT_AFTER, Endpoint
from pointsman.sync.streams import HISTORY, Piece
from pointsman.sync.wire import MOST_RECORDS, RECORD_SIZE, Drop, Kind, encode, key_of

KEY = key_of(b"the secret of the cluster")
PORT = 8849
GROUP = Endpoint("224.0.0.81", PORT)


def record(number: int) -> bytes:
    return number.to_bytes(RECORD_SIZE, "big")


def numbers(pieces: list[Piece]) -> list[int]:
    body = b"".join(piece.body for piece in pieces)
    return [int.from_bytes(body[at : at + RECORD_SIZE], "big") for at in range(0, len(body), RECORD_SIZE)]


class Network:
    """Directors by address; time passes in steps of 5 ms. A datagram needs one step."""

    def __init__(self, names: str, *, key: bytes = KEY, group: bool = False, seed: int = 1) -> None:
        self.now = 100.0
        self.names = names
        self.group = GROUP if group else None
        self.random = random.Random(seed)
        self.loss = 0.0
        self.cut: set[frozenset[str]] = set()
        self.under_way: list[tuple[str, str, bytes]] = []
        self.recorded: list[tuple[str, str, bytes]] = []
        self.live: dict[str, list[int]] = {name: [] for name in names}
        self.table: dict[str, list[int]] = {name: [] for name in names}
        self.holds: dict[str, list[int]] = {name: [] for name in names}
        """The whole table of each, which it gives to a peer that asks."""
        self.given: dict[tuple[str, str, int], int] = {}
        self.directors: dict[str, Exchange] = {}
        for name in names:
            self.start(name, key)

    def start(self, name: str, key: bytes = KEY) -> None:
        peers = [Endpoint(each, PORT) for each in self.names if each != name]
        self.directors[name] = Exchange(key, self.random.getrandbits(64) | 1, peers, self.group)

    def send(self, name: str, *values: int) -> None:
        self.directors[name].send_live(b"".join(map(record, values)), self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.005
            self.step()

    def step(self) -> None:
        arriving, self.under_way = self.under_way, []
        if self.loss:
            self.random.shuffle(arriving)
        for source, target, data in arriving:
            self.deliver(source, target, data)
        for name, director in self.directors.items():
            director.advance(self.now)
            self.give_tables(name, director)
            for endpoint, data in director.outgoing():
                self.carry(name, endpoint.address, data)

    def carry(self, source: str, address: str, data: bytes) -> None:
        targets = [each for each in self.names if each != source] if address == GROUP.address else [address]
        for target in targets:
            self.recorded.append((source, target, data))
            if frozenset((source, target)) in self.cut or self.random.random() < self.loss:
                continue
            self.under_way.append((source, target, data))
            if self.random.random() < self.loss:
                self.under_way.append((source, target, data))

    def deliver(self, source: str, target: str, data: bytes) -> None:
        for piece in self.directors[target].receive(source, data, self.now):
            into = self.live if piece.kind is Kind.LIVE else self.table
            into[target] += numbers([piece])

    def give_tables(self, name: str, director: Exchange) -> None:
        for job in director.tables(self.now):
            which = (name, job.endpoint.address, job.begun)
            start = self.given.get(which, 0)
            values = self.holds[name][start : start + job.room]
            self.given[which] = start + len(values)
            end = start + len(values) == len(self.holds[name])
            director.send_table(job, b"".join(map(record, values)), end=end)

    def drops(self, name: str) -> dict[Drop, int]:
        return dict(self.directors[name].drops)


@pytest.mark.parametrize("group", [False, True])
def test_what_one_sends_all_others_have_in_order(group: bool) -> None:
    network = Network("abc", group=group)
    network.run(1)
    network.send("a", *range(100))
    network.send("b", *range(500, 600))
    network.run(0.1)
    from_a = [value for value in network.live["c"] if value < 500]
    assert (from_a, len(network.live["c"])) == ([*range(100)], 200)
    assert network.live["a"] == [*range(500, 600)]
    assert all(not network.drops(name) for name in "abc")


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_on_a_network_that_loses_a_fifth(group: bool, seed: int) -> None:
    network = Network("ab", group=group, seed=seed)
    network.run(1)
    network.loss = 0.2
    for start in range(0, 4000, 40):
        network.send("a", *range(start, start + 40))
        network.run(0.01)
    network.run(5)
    assert network.live["b"] == [*range(4000)]
    assert network.directors["b"].peers["a"].lost == 0


def test_a_director_that_joins_gets_the_whole_table() -> None:
    network = Network("ab")
    network.holds["a"] = [*range(WINDOW * MOST_RECORDS * 3)]
    network.run(3)
    assert network.table["b"] == network.holds["a"]
    assert network.directors["b"].peers["a"].joined is not None
    network.start("b")
    network.table["b"].clear()
    network.run(3)
    assert network.table["b"] == network.holds["a"], "again after a restart"


def test_a_table_does_not_outrun_the_one_that_takes_it() -> None:
    network = Network("ab")
    network.holds["a"] = [*range(WINDOW * MOST_RECORDS * 4)]
    network.run(0.05)
    network.cut = {frozenset("ab")}
    network.run(0.5)
    assert network.directors["a"].peers["b"].outbound.in_flight <= WINDOW
    network.cut.clear()
    network.run(5)
    assert network.table["b"] == network.holds["a"]


def test_after_a_long_silence_the_whole_table_is_asked_for() -> None:
    network = Network("ab")
    network.run(1)
    network.holds["a"] = [7, 8, 9]
    network.cut = {frozenset("ab")}
    for _ in range(20):
        network.send("a", 1)
        network.run(SILENT_AFTER / 10)
    assert network.directors["a"].peers["b"].is_silent(network.now)
    network.table["b"].clear()
    network.cut.clear()
    network.run(3)
    assert network.table["b"] == [7, 8, 9]
    network.send("a", 2)
    network.run(0.1)
    assert network.live["b"][-1] == 2


def test_more_than_the_history_is_mended_by_the_table() -> None:
    network = Network("ab")
    network.run(1)
    network.holds["a"] = [3]
    network.table["b"].clear()
    network.cut = {frozenset("ab")}
    for _ in range(HISTORY + 10):
        network.send("a", 1)
    network.run(0.1)
    network.cut.clear()
    network.run(2)
    assert network.table["b"] == [3]
    assert network.directors["b"].peers["a"].lost == 1


def test_events_that_were_lost_before_they_were_sent_are_mended_by_the_table() -> None:
    network = Network("ab")
    network.run(1)
    network.holds["a"] = [5, 6]
    network.table["b"].clear()
    network.directors["a"].note_lost()
    network.run(HELLO_INTERVAL * 2)
    assert network.table["b"] == [5, 6]


def test_a_hand_over_is_acknowledged_at_once() -> None:
    network = Network("ab")
    network.run(1)
    network.send("a", *range(1000))
    marks = network.directors["a"].mark(network.now)
    assert network.directors["a"].behind(marks, network.now) == ["b"]
    network.run(0.02)
    assert network.directors["a"].behind(marks, network.now) == []


def test_a_hand_over_does_not_wait_for_a_peer_that_is_not_there() -> None:
    network = Network("abc")
    network.cut = {frozenset("ac"), frozenset("bc")}
    network.run(1)
    assert list(network.directors["a"].mark(network.now)) == ["b"]
    network.cut.add(frozenset("ab"))
    marks = network.directors["a"].mark(network.now)
    network.send("a", 1)
    network.run(SILENT_AFTER + 1)
    assert network.directors["a"].behind(marks, network.now) == []


def test_recorded_datagrams_are_of_no_use() -> None:
    network = Network("ab")
    network.holds["a"] = [1]
    network.run(1)
    network.send("a", 2)
    network.run(1)
    had = list(network.live["b"]), list(network.table["b"])
    for source, target, data in network.recorded:
        network.deliver(source, target, data)
    assert (network.live["b"], network.table["b"]) == had
    assert network.drops("b").keys() <= {Drop.REPLAY, Drop.SESSION}
    session = network.directors["b"].peers["a"].session
    network.start("b")
    for source, target, data in network.recorded:
        network.deliver(source, target, data)
    assert (network.live["b"], network.table["b"]) == had
    assert network.directors["b"].peers["a"].session is None, "an old start of b cannot be replayed to it"
    network.run(1)
    assert network.directors["b"].peers["a"].session == session


def test_an_earlier_session_of_the_peer_does_not_come_back() -> None:
    network = Network("ab")
    network.run(1)
    recorded = list(network.recorded)
    network.start("a")
    network.run(2)
    session = network.directors["b"].peers["a"].session
    for source, target, data in recorded:
        network.deliver(source, target, data)
    assert network.directors["b"].peers["a"].session == session


def test_a_director_with_another_key_is_not_heard() -> None:
    network = Network("ab")
    network.start("a", key_of(b"another secret, of nobody"))
    network.run(3)
    assert network.directors["b"].peers["a"].heard is None
    assert network.drops("b").keys() == {Drop.KEY}


def test_only_configured_peers_are_heard() -> None:
    network = Network("ab")
    network.run(1)
    data = encode(KEY, Kind.LIVE, 1, 0, 0, record(1))
    assert network.directors["b"].receive("x", data, network.now) == []
    assert network.drops("b") == {Drop.PEER: 1}


def test_answers_to_unknown_sessions_are_few() -> None:
    network = Network("ab")
    director = network.directors["b"]
    director.outgoing()
    for number in range(1000):
        director.receive("a", encode(KEY, Kind.HELLO, 5, 0, number, bytes(64)), network.now)
    assert len(director.outgoing()) <= 10
