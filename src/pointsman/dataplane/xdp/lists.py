"""The lists of servers in `members`: where they lie, and how a new one takes the place of an old one."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.dataplane.xdp import slots
from pointsman.dataplane.xdp.addresses import hashed
from pointsman.dataplane.xdp.allocation import FullError, Ranges
from pointsman.dataplane.xdp.layout import LIST_HEAD, Service, Vocabulary
from pointsman.dataplane.xdp.remotes import address_at
from pointsman.dataplane.xdp.rosters import Cursor, Place, Roster, after_edit, elements, start_of, stay
from pointsman.dataplane.xdp.tables import Tables


class RefusedError(Exception):
    """An operation that cannot be done; `args[0]` is a reason of model.operations.Refusal."""


class ServerLists:
    """The lists in force, one of each service."""

    def __init__(self, tables: Tables, words: Vocabulary) -> None:
        """`adopt` is to be called before the first change."""
        self._tables = tables
        self._words = words
        self._ranges = Ranges(len(tables.members))

    def adopt(self, services: Iterable[int]) -> None:
        """The lists of these services lie in `members` already."""
        rosters = (Roster.of(self._tables.services[index].list) for index in services)
        self._ranges = Ranges(
            len(self._tables.members),
            [(roster.first, self._extent(roster)) for roster in rosters if roster.length],
        )

    def places(self, service: int) -> list[Place]:
        """The servers in force, newest first, with the weights they are to have."""
        dests = [element & 0xFFFFFFFF for element in self._members(service)]
        return [Place(index, self._tables.dests[index].weight) for index in dests]

    def _members(self, service: int) -> list[int]:
        roster = Roster.of(self._tables.services[service].list)
        start = roster.first + LIST_HEAD
        return self._tables.members[start : start + roster.length]

    def correct(self, service: int) -> None:
        """Write the list anew if its weights are not those its servers are to have. Raises RefusedError."""
        places, name = self.places(service), self._name(Roster.of(self._tables.services[service].list))
        if elements(places, name == "wrr", 0)[LIST_HEAD:] != self._members(service):
            self.switch(service, places)

    def switch(self, service: int, after: list[Place], scheduler: int | None = None) -> None:
        """Put a new list in force; `scheduler` starts anew with it, otherwise the present one goes on.

        Raises RefusedError; then the old list is in force.
        """
        entry = self._tables.services[service]
        old = Roster.of(entry.list)
        number = old.scheduler if scheduler is None else scheduler
        name = self._words.scheduler_names[number]
        if scheduler is None:
            cursor = self._goes_on(name, self._cursor(entry, old), self.places(service), after)
        else:
            cursor = start_of(name == "wrr", after)
        generation = old.next_generation
        first = 0
        if after:
            content = elements(after, name == "wrr", cursor.word(generation))
            content += slots.elements_of(name, [self._candidate(place) for place in after])
            first = self._take(len(content))
            self._tables.members[first : first + len(content)] = content  # type: ignore[assignment]
        else:
            entry.cursor = cursor.word(generation)
        entry.list = Roster(first, len(after), generation, number).word()
        if old.length:
            self._ranges.give_back(old.first, self._extent(old))

    def _goes_on(self, name: str, cursor: Cursor, before: list[Place], after: list[Place]) -> Cursor:
        return (
            stay(cursor, before, after)
            if name == "lblc"
            else after_edit(name == "wrr", cursor, before, after)
        )

    def _name(self, roster: Roster) -> str:
        return self._words.scheduler_names[roster.scheduler]

    def _extent(self, roster: Roster) -> int:
        """How many elements of `members` a list takes."""
        return LIST_HEAD + roster.length + slots.length_of(self._name(roster))

    def _candidate(self, place: Place) -> slots.Candidate:
        dest = self._tables.dests[place.dest]
        return slots.Candidate(
            hashed(address_at(self._tables.remotes[place.dest])),
            dest.port,
            place.weight,
            place.weight or dest.last_weight,
        )

    def _cursor(self, entry: Service, roster: Roster) -> Cursor:
        word = entry.cursor
        if word >> 48 != roster.generation and roster.length:
            word = self._tables.members[roster.first]
        return Cursor.of(word)

    def _take(self, length: int) -> int:
        try:
            return self._ranges.take(length)
        except FullError:
            raise RefusedError("full", "the table of servers' lists") from None
