# SPDX-License-Identifier: Apache-2.0
"""Many operations on the servers of a service make one new list: the same list as one after the other."""

from __future__ import annotations

import ctypes
import ipaddress
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.counting import lines_run

from pointsman.dataplane.xdp.kernel.layout import LIST_HEAD, Block, Dest, Load, Remote, Service, Unanswered
from pointsman.dataplane.xdp.server_list_format import Cursor, ListWord
from pointsman.dataplane.xdp.server_lists import RefusedError, ServerLists
from pointsman.dataplane.xdp.servers import Servers
from pointsman.model.service import RealServer, ServerKey

NAMES = ("rr", "wrr", "wlc", "sh", "mh")
SERVICE = 1


class Place:
    """The servers of one service, in tables that no program reads."""

    def __init__(self, scheduler: str, members: int = 1 << 14) -> None:
        self.tables = SimpleNamespace(
            services=(Service * 4)(),
            dests=(Dest * 4096)(),
            remotes=(Remote * 4096)(),
            loads=(Load * 4096)(),
            unanswered=(Unanswered * 4096)(),
            blocks=(Block * 512)(),
            members=(ctypes.c_uint64 * members)(),
            control=SimpleNamespace(now=1000),
        )
        words: Any = SimpleNamespace(scheduler_names=NAMES)
        tables: Any = self.tables
        names = ("account_for", "start_server", "free_server")
        counters: Any = SimpleNamespace(**{name: lambda *_: None for name in names})
        dest_names: Any = SimpleNamespace(add=lambda _: None, write=lambda: None, remove=lambda _: None)
        self.servers = Servers(tables, ServerLists(tables, words), counters, dest_names)
        self.servers.add_service(SERVICE)
        self.tables.services[SERVICE].list = ListWord(0, 0, 0, NAMES.index(scheduler)).word()
        self.refused: list[str] = []
        self._sequence = 0

    def add(self, number: int, weight: int = 1) -> None:
        self._sequence += 1
        self._try(self.servers.add, SERVICE, 1, False, server(number, weight), self._sequence)

    def edit(self, number: int, weight: int) -> None:
        self._try(self.servers.edit, SERVICE, False, server(number, weight))

    def delete(self, number: int, _: int = 0) -> None:
        self._try(self.servers.delete, SERVICE, server(number).key)

    def _try(self, change: Callable[..., None], *arguments: object) -> None:
        try:
            change(*arguments)
        except RefusedError as refused:
            self.refused.append(refused.args[0])

    def schedule(self, turns: int) -> None:
        """Move the position of the scheduler as packets do."""
        entry, (_, length, generation, _) = self.tables.services[SERVICE], self._word()
        level = self._cursor().level
        entry.cursor = Cursor(turns % (length + 1), level and 1 + turns % level).word(generation)

    def _word(self) -> ListWord:
        return ListWord.of(self.tables.services[SERVICE].list)

    def _cursor(self) -> Cursor:
        entry, list_word = self.tables.services[SERVICE], self._word()
        has_own = entry.cursor >> 48 == list_word.generation or not list_word.length
        return Cursor.of(entry.cursor if has_own else self.tables.members[list_word.first])

    def content(self) -> tuple[list[str], list[int], Cursor]:
        """Return the servers in force, what packets read beside them, and the scheduler's position."""
        first, length, _, _ = self._word()
        end = first + LIST_HEAD + length
        extent = 1024 if self._word().scheduler == NAMES.index("mh") else 0
        weights = [member >> 32 for member in self.tables.members[first + LIST_HEAD : end]]
        slots = self.tables.members[end : end + extent] if length else []
        listed = [str(self.servers.server(index)) for index in self.servers.in_force(SERVICE)]
        return listed, weights + slots, self._cursor()


def server(number: int, weight: int = 1) -> RealServer:
    return RealServer(key=ServerKey(ipaddress.ip_address("10.0.0.0") + number, 80), weight=weight)


@pytest.mark.parametrize("scheduler", NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_operations_together_make_the_same_table_as_one_after_the_other(scheduler: str, seed: int) -> None:
    chance = random.Random(seed)
    together, singly = Place(scheduler), Place(scheduler)
    for _ in range(6):
        turns = chance.randrange(100)
        for place in (together, singly):
            place.schedule(turns)
        for _ in range(chance.randrange(12)):
            verb = chance.choice(["add", "add", "edit", "delete"])
            number, weight = chance.randrange(1, 9), chance.choice([0, 1, 2, 4, 6, 9])
            for place in (together, singly):
                getattr(place, verb)(number, weight)
            singly.servers.commit()
        together.servers.commit()
        assert together.content() == singly.content()
        assert together.refused == singly.refused


@pytest.mark.parametrize("scheduler", NAMES)
@pytest.mark.parametrize("verb", ["add", "edit", "delete"])
def test_ten_times_the_operations_are_ten_times_the_work(scheduler: str, verb: str) -> None:
    def work(count: int) -> int:
        place = Place(scheduler)
        for number in range(0 if verb == "add" else count):
            place.add(number + 1, 2)
        place.servers.commit()

        def change() -> None:
            for number in range(count):
                getattr(place, verb)(number + 1, 3)
            place.servers.commit()

        lines = lines_run(change)
        assert not place.refused
        return lines

    assert work(1000) < 11 * work(100)


def test_the_changes_of_a_request_are_not_seen_before_they_are_complete() -> None:
    place = Place("rr")
    place.add(1)
    place.servers.commit()
    before = place.content()
    place.add(2)
    place.delete(1)
    assert place.content() == before
    place.servers.commit()
    assert [str(server(2))] == place.content()[0]


def test_the_operation_that_finds_no_room_is_refused_and_no_other() -> None:
    """The lists have 64 elements: the list in force has 8, so the next may have 32."""
    place = Place("rr", members=64)
    for number in range(1, 5):
        place.add(number)
    place.servers.commit()
    for number in range(5, 40):
        place.add(number)
    place.delete(1)
    place.servers.commit()
    listed = [str(server(number)) for number in range(2, 31)]
    assert place.content()[0] == listed
    assert place.refused == ["full"] * 9
