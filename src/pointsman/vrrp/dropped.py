# SPDX-License-Identifier: Apache-2.0
"""Adverts that were dropped, by instance, sender and reason: what came, and what was expected."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pointsman.model.vrrp import VrrpInstance
from pointsman.packets.errors import WireError
from pointsman.vrrp.admission import advertised_addresses
from pointsman.vrrp.wire import Datagram, decode

MAX_KEPT = 64
"""Entries. Senders can be forged: what exceeds this number has no sender (OTHERS)."""
OTHERS = "others"
INTERVAL = 1.0
"""Minimum seconds between two calls of `due` that return entries."""

Key = tuple[str, str, str]
"""Instance, sender, reason."""


class Dropped(msgspec.Struct, frozen=True):
    """Adverts of one sender that one instance drops for one reason."""

    instance: str
    sender: str
    reason: str
    """A value of admission.Drop."""
    text: str
    count: int


class DroppedAdverts:
    """The dropped adverts of all instances of a process."""

    def __init__(self) -> None:
        self._entries: dict[Key, list[int]] = {}
        self._texts: dict[Key, str] = {}
        self._changed: dict[Key, None] = {}
        self._not_before = float("-inf")

    def note(self, instance: str, sender: str, reason: str, text: str) -> None:
        """Count an advert that was dropped."""
        key = (instance, sender, reason)
        if key not in self._entries and len(self._entries) >= MAX_KEPT:
            key = (instance, OTHERS, reason)
        self._texts[key] = text
        self._entries.setdefault(key, [0])[0] += 1
        self._changed[key] = None

    def note_again(self, instance: str, sender: str, reason: str) -> None:
        """Count another advert of a sender and a reason that were noted. Cheap: it may be a flood."""
        key = (instance, sender, reason)
        if (count := self._entries.get(key)) is not None:
            count[0] += 1
            self._changed[key] = None

    def forget(self, instance: str) -> None:
        """Forget the entries of an instance, because its settings have changed."""
        for key in [key for key in self._entries if key[0] == instance]:
            del self._entries[key], self._texts[key]
            self._changed.pop(key, None)

    def report_again(self) -> None:
        """Let the next `due` return all entries."""
        self._changed = dict.fromkeys(self._entries)

    def due(self, now: float) -> list[Dropped]:
        """Return the entries that have changed since the last call, not more often than INTERVAL."""
        if not self._changed or now < self._not_before:
            return []
        self._not_before = now + INTERVAL
        changed, self._changed = self._changed, {}
        return [Dropped(*key, self._texts[key], self._entries[key][0]) for key in changed]


def is_of_another_group(instance: VrrpInstance, datagram: Datagram) -> bool:
    """True if an advert with this instance's virtual router id belongs to another group of routers."""
    try:
        advert = decode(datagram.payload, datagram.source, datagram.destination)
    except WireError:
        return False
    is_shared = bool(set(advert.addresses) & set(advertised_addresses(instance)))
    return bool(advert.addresses) and not is_shared and datagram.source not in instance.unicast_peers


def find_intended(
    silent: Iterable[VrrpInstance], never: Iterable[VrrpInstance], datagram: Datagram
) -> VrrpInstance | None:
    """Return the instance that an advert of an unknown virtual router seems to be meant for.

    It has one of the instance's virtual addresses, or the sender is one of its unicast peers. `silent`:
    instances that do not hear the sender now; `never`: those that have never heard it. None: it is of
    another group of routers.
    """
    try:
        advert = decode(datagram.payload, datagram.source, datagram.destination)
    except WireError:
        return None
    same = (each for each in silent if set(advert.addresses) & set(advertised_addresses(each)))
    peers = (each for each in never if datagram.source in each.unicast_peers)
    return next(same, None) or next(peers, None)
