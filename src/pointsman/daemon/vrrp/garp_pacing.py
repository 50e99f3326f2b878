# SPDX-License-Identifier: Apache-2.0
"""Pauses between gratuitous ARP announcements (garp_interval, gna_interval, garp_group)."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping

from pointsman.model.tracking import AnnouncementPauses
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.arp import Announcer
from pointsman.net.links import Link

_QueueKey = tuple[str, int]
"""Interface (for a group, its first) and IP version. Announcements with the same key share a pause."""


class GarpPacer:
    """Sender of announcements. Without a pause it sends them at once, otherwise one by one.

    Each address is announced once before any address is announced again.
    """

    def __init__(self, announcer: Announcer, links: Mapping[str, Link], clock: Callable[[], float]) -> None:
        self._announcer = announcer
        self._links = links
        self._clock = clock
        self._default = AnnouncementPauses()
        self._groups: dict[str, AnnouncementPauses] = {}
        self._waiting: dict[_QueueKey, collections.deque[VirtualAddress]] = {}
        self._next_at: dict[_QueueKey, float] = {}
        self._pauses: dict[_QueueKey, float] = {}

    def reconfigure(self, pauses: Iterable[AnnouncementPauses]) -> None:
        """Use these pauses."""
        self._default, self._groups = AnnouncementPauses(), {}
        for each in pauses:
            self._groups.update(dict.fromkeys(each.interfaces, each))
            if not each.interfaces:
                self._default = each

    @property
    def deadline(self) -> float | None:
        """Time of the next call of `advance`. None: nothing waits."""
        return min(self._next_at[key] for key in self._waiting) if self._waiting else None

    def announce(
        self, entries: Iterable[VirtualAddress], repeat: int, bases: Mapping[str, str]
    ) -> OSError | None:
        """Announce each address `repeat` times. Return the last failure, or None.

        `bases`: the base interface of each virtual interface.
        """
        now, at_once = self._clock(), []
        paced: dict[_QueueKey, list[VirtualAddress]] = {}
        for entry in entries:
            name = bases.get(entry.device, entry.device)
            pauses = self._groups.get(name, self._default)
            pause = pauses.arp if entry.address.version == 4 else pauses.na
            if not pause:
                at_once.append(entry)
                continue
            key: _QueueKey = ((*pauses.interfaces, name)[0], entry.address.version)
            self._pauses[key] = pause
            paced.setdefault(key, []).append(entry)
        for key, addresses in paced.items():
            queue = self._waiting.setdefault(key, collections.deque())
            others = [entry for entry in queue if entry not in addresses]  # a new burst replaces an old one
            queue.clear()
            queue.extend(others + addresses * repeat)
            self._next_at.setdefault(key, now)
            if not queue:
                del self._waiting[key]
        failure = self._announcer.announce(self._links, at_once, repeat)
        self.advance(now)
        return failure

    def cancel(self, entries: Iterable[VirtualAddress]) -> None:
        """Drop the waiting announcements of addresses that were removed from this host."""
        gone = set(entries)
        for key, queue in list(self._waiting.items()):
            self._waiting[key] = collections.deque(entry for entry in queue if entry not in gone)
            if not self._waiting[key]:
                del self._waiting[key]

    def advance(self, now: float) -> None:
        """Send the announcements that are due."""
        for key, queue in list(self._waiting.items()):
            while queue and self._next_at[key] <= now:
                self._announcer.announce(self._links, [queue.popleft()], 1)
                self._next_at[key] = now + self._pauses[key]
            if not queue:
                del self._waiting[key]
