# SPDX-License-Identifier: Apache-2.0
"""The lists of servers in `pm_members`: allocate lists, and replace one by another."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.dataplane.xdp import slots
from pointsman.dataplane.xdp.addresses import fold
from pointsman.dataplane.xdp.allocation import FullError, RangeAllocator, order
from pointsman.dataplane.xdp.draft import Draft
from pointsman.dataplane.xdp.kernel.layout import LIST_HEAD, Service, Vocabulary
from pointsman.dataplane.xdp.server_list_format import (
    LEAST_COST,
    Blocks,
    Cursor,
    ListWord,
    Place,
    elements,
    rr_after_edit,
    start_of,
    wrr_after_edits,
)
from pointsman.dataplane.xdp.tables import Tables
from pointsman.dataplane.xdp.tunnel_endpoint import address_at

_NO_BLOCK = (0, 1)
"""Number 0 names no block."""


class RefusedError(Exception):
    """An operation is refused; `args[0]` is a reason of model.operations.Refusal."""


class ServerLists:
    """The lists in force, one of each service."""

    def __init__(self, tables: Tables, words: Vocabulary) -> None:
        """Call `restore` before the first change."""
        self._tables = tables
        self._words = words
        self._ranges = RangeAllocator(len(tables.members))
        self._blocks = RangeAllocator(len(tables.blocks), [_NO_BLOCK])

    def restore(self, services: Iterable[int]) -> None:
        """Mark the parts of `pm_members` that the lists of these services use as allocated."""
        list_words = [ListWord.of(self._tables.services[index].list) for index in services]
        self._ranges = RangeAllocator(
            len(self._tables.members),
            [(list_word.first, self._extent(list_word)) for list_word in list_words if list_word.length],
        )
        self._blocks = RangeAllocator(
            len(self._tables.blocks),
            [_NO_BLOCK, *(range_ for list_word in list_words if (range_ := self._blocks_of(list_word)))],
        )

    def places(self, service: int) -> list[Place]:
        """Return the servers in force, newest first, with their configured weights."""
        return [Place(index, self._tables.dests[index].weight) for index in self.members(service)]

    def members(self, service: int) -> list[int]:
        """Return the indexes of the servers in force, newest first."""
        return [element & 0xFFFFFFFF for element in self._members(service)]

    def _members(self, service: int) -> list[int]:
        list_word = ListWord.of(self._tables.services[service].list)
        start = list_word.first + LIST_HEAD
        return self._tables.members[start : start + list_word.length]

    def repair(self, service: int) -> None:
        """Write the list again if its weights or blocks are wrong. Raises RefusedError."""
        places, name = self.places(service), self._name(ListWord.of(self._tables.services[service].list))
        is_wrong = elements(places, name == "wrr", 0)[LIST_HEAD:] != self._members(service)
        if is_wrong or not self._blocks_fit(service, places):
            self.commit(service, self.draft(service))

    def _blocks_fit(self, service: int, places: list[Place]) -> bool:
        """True if the servers belong to the blocks of this list; False after a kill during an edit."""
        found = self._blocks_of(ListWord.of(self._tables.services[service].list))
        if found is None:
            return True
        shift = Blocks.of(len(places)).shift
        return all(
            self._tables.dests[place.dest].block == found[0] + (number >> shift)
            for number, place in enumerate(places)
        )

    def _blocks_of(self, list_word: ListWord) -> tuple[int, int] | None:
        """Return the first block of a list, and the number of blocks."""
        if not list_word.length or self._name(list_word) not in LEAST_COST:
            return None
        first = self._tables.members[list_word.first + 1] & 0xFFFFFFFF
        return (first, Blocks.of(list_word.length).total) if first else None

    def _allocate_blocks(self, name: str, places: list[Place]) -> int:
        """Allocate blocks for a list, and mark them for a scan. Return the second word of the list's head."""
        blocks = Blocks.of(len(places)) if name in LEAST_COST else Blocks(0, 0)
        if not blocks.total:
            return 0
        try:
            first = self._blocks.allocate(blocks.total)
        except FullError:
            return 0
        for number in range(first, first + blocks.total):
            block = self._tables.blocks[number]
            block.best = ((block.changes + (1 << 31)) & 0xFFFFFFFF) << 32
        # Before the list is in force: from then on the packet path reports every change to its block.
        for number, place in enumerate(places):
            self._tables.dests[place.dest].block = first + (number >> blocks.shift)
        return first | blocks.shift << 32

    def draft(self, service: int) -> Draft:
        """Return a draft of this service's list. `commit` puts it in force."""
        name = self._name(ListWord.of(self._tables.services[service].list))
        return Draft(self.places(service), name == "wrr")

    def reserve(self, service: int, draft: Draft, count: int) -> None:
        """Reserve room for a list of `count` servers, so that `commit` cannot fail. Raises RefusedError."""
        if draft.range is not None and count <= draft.room:
            return
        length = self._length(ListWord.of(self._tables.services[service].list), count)
        kept = draft.range
        self.release(draft)
        try:
            draft.range = self._allocate(length), length
        except RefusedError:
            draft.range = kept and (self._allocate(kept[1]), kept[1])
            raise
        draft.room = count + (1 << order(length)) - length

    def release(self, draft: Draft) -> None:
        """Free the room that is reserved for this draft."""
        if draft.range is not None:
            self._ranges.cancel(*draft.range)
            draft.range = None

    def commit(self, service: int, draft: Draft) -> None:
        """Put a draft in force by one store."""
        entry, after = self._tables.services[service], draft.places()
        old = ListWord.of(entry.list)
        cursor = self._cursor(entry, old)
        if draft.steps:
            cursor = wrr_after_edits(cursor, draft.steps)
        else:
            cursor = rr_after_edit(cursor, self.places(service), after)
        length = self._length(old, len(after))
        if draft.range is not None and after and order(draft.range[1]) == order(length):
            first = draft.range[0]
        else:
            self.release(draft)
            first = self._allocate(length) if after else 0
        self._put(service, after, cursor, old.scheduler, first)

    def replace(self, service: int, after: list[Place], scheduler: int) -> None:
        """Put a list in force with a scheduler that starts at the beginning.

        Raises RefusedError; then the old list stays in force.
        """
        name = self._words.scheduler_names[scheduler]
        length = LIST_HEAD + len(after) + slots.length_of(name)
        first = self._allocate(length) if after else 0
        self._put(service, after, start_of(name == "wrr", after), scheduler, first)

    def _put(self, service: int, after: list[Place], cursor: Cursor, scheduler: int, first: int) -> None:
        """Write a list to `pm_members` from `first` on, and put it in force."""
        entry, name = self._tables.services[service], self._words.scheduler_names[scheduler]
        old = ListWord.of(entry.list)
        word = cursor.word(old.next_generation)
        if after:
            content = elements(after, name == "wrr", word, self._allocate_blocks(name, after))
            if name in slots.SLOTS:
                content += slots.elements_of(name, [self._candidate(place) for place in after])
            self._tables.members[first : first + len(content)] = content  # type: ignore[assignment]
        else:
            entry.cursor = word
        old_blocks = self._blocks_of(old)
        entry.list = ListWord(first, len(after), old.next_generation, scheduler).word()
        if old_blocks:
            self._blocks.free(*old_blocks)
        if old.length:
            self._ranges.free(old.first, self._extent(old))

    def _name(self, list_word: ListWord) -> str:
        return self._words.scheduler_names[list_word.scheduler]

    def _extent(self, list_word: ListWord) -> int:
        """Return the number of elements that a list occupies in `pm_members`."""
        return self._length(list_word, list_word.length)

    def _length(self, list_word: ListWord, count: int) -> int:
        """Return the number of elements that a list of `count` servers occupies."""
        return LIST_HEAD + count + slots.length_of(self._name(list_word))

    def _candidate(self, place: Place) -> slots.Candidate:
        dest = self._tables.dests[place.dest]
        return slots.Candidate(
            fold(address_at(self._tables.remotes[place.dest])),
            dest.port,
            place.weight,
            place.weight or dest.last_weight,
        )

    def _cursor(self, entry: Service, list_word: ListWord) -> Cursor:
        word = entry.cursor
        if word >> 48 != list_word.generation and list_word.length:
            word = self._tables.members[list_word.first]
        return Cursor.of(word)

    def _allocate(self, length: int) -> int:
        try:
            return self._ranges.allocate(length)
        except FullError:
            raise RefusedError("full", "the table of servers' lists") from None
