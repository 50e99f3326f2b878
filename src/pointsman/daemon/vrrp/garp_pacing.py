"""Announcements with pauses between them, where some are configured (garp_interval, gna_interval)."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping

from pointsman.model.tracking import AnnouncementPauses
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.arp import Announcer
from pointsman.net.links import Link

_Lane = tuple[str, int]
"""What shares a pause: an interface, or the first of a group; and the IP version."""


class GarpPacer:
    """Sends at once what needs no pause, and the rest one by one; each address first once, then again."""

    def __init__(self, announcer: Announcer, links: Mapping[str, Link], clock: Callable[[], float]) -> None:
        self._announcer = announcer
        self._links = links
        self._clock = clock
        self._usual = AnnouncementPauses()
        self._groups: dict[str, AnnouncementPauses] = {}
        self._waiting: dict[_Lane, collections.deque[VirtualAddress]] = {}
        self._free_at: dict[_Lane, float] = {}
        self._pauses: dict[_Lane, float] = {}

    def use(self, pauses: Iterable[AnnouncementPauses]) -> None:
        """These pauses from now on."""
        self._usual, self._groups = AnnouncementPauses(), {}
        for each in pauses:
            self._groups.update(dict.fromkeys(each.interfaces, each))
            if not each.interfaces:
                self._usual = each

    @property
    def deadline(self) -> float | None:
        """When `advance` wants to be called."""
        return min((self._free_at[lane] for lane in self._waiting), default=None)

    def announce(
        self, entries: Iterable[VirtualAddress], repeat: int, bases: Mapping[str, str]
    ) -> OSError | None:
        """`repeat` announcements of each; `bases`: what virtual interfaces lie upon. The last failure."""
        now, at_once = self._clock(), []
        paced: dict[_Lane, list[VirtualAddress]] = {}
        for entry in entries:
            name = bases.get(entry.device, entry.device)
            pauses = self._groups.get(name, self._usual)
            pause = pauses.arp if entry.address.version == 4 else pauses.na
            if not pause:
                at_once.append(entry)
                continue
            lane: _Lane = ((*pauses.interfaces, name)[0], entry.address.version)
            self._pauses[lane] = pause
            paced.setdefault(lane, []).append(entry)
        for lane, addresses in paced.items():
            queue = self._waiting.setdefault(lane, collections.deque())
            others = [entry for entry in queue if entry not in addresses]  # a new burst replaces an old one
            queue.clear()
            queue.extend(others + addresses * repeat)
            self._free_at.setdefault(lane, now)
            if not queue:
                del self._waiting[lane]
        failure = self._announcer.announce(self._links, at_once, repeat)
        self.advance(now)
        return failure

    def forget(self, entries: Iterable[VirtualAddress]) -> None:
        """They are not here any more: nothing is said of them."""
        gone = set(entries)
        for lane, queue in list(self._waiting.items()):
            self._waiting[lane] = collections.deque(entry for entry in queue if entry not in gone)
            if not self._waiting[lane]:
                del self._waiting[lane]

    def advance(self, now: float) -> None:
        """Send what is due."""
        for lane, queue in list(self._waiting.items()):
            while queue and self._free_at[lane] <= now:
                self._announcer.announce(self._links, [queue.popleft()], 1)
                self._free_at[lane] = now + self._pauses[lane]
            if not queue:
                del self._waiting[lane]
