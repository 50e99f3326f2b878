"""What moves with the mastership of one instance: its addresses, here and in the neighbours' tables."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

from pointsman.control.vrrp_messages import NotifyEvent
from pointsman.daemon.vrrp.garp_pacing import GarpPacer
from pointsman.daemon.vrrp.no_accept import AcceptFilter
from pointsman.daemon.vrrp.routes import RoutesAndRules
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.addresses import InterfaceAddress, addresses, assign, withdraw
from pointsman.net.arp import Announcer, Answer
from pointsman.net.links import Link
from pointsman.net.netlink import Message, NetlinkSocket
from pointsman.net.nftables import Shielded
from pointsman.net.sysctls import Sysctls

RECHECK_SPACING = 1.0
"""Seconds between two looks whether the virtual addresses are still there, however often they vanish."""
LIFETIME = 30
"""Seconds that the kernel keeps virtual addresses of which nobody has taken care: after a crash without a
restart they must not answer for ever beside those of the new master."""
RENEWAL = 10.0
"""Seconds between two renewals."""
FIRST_QUESTION, QUESTION_SPACING = 1.0, 10.0
"""Seconds from taking over until the segment is asked who else has the addresses, and between questions."""
CONFLICT_SPACING = 1.0

log = logging.getLogger("vrrp")


class Context:
    """What all instances of a process share."""

    def __init__(
        self,
        netlink: NetlinkSocket,
        links: dict[str, Link],
        clock: Callable[[], float],
        tell: Callable[[NotifyEvent], None],
        sysctls: Sysctls,
        shield: AcceptFilter,
    ) -> None:
        self.netlink = netlink
        self.links = links
        self.clock = clock
        self.tell = tell
        """Hands a notice to the process that runs programs; never waits."""
        self.announcer = Announcer()
        self.pacer = GarpPacer(self.announcer, links, clock)
        self.sysctls = sysctls
        self.shield = shield


class VirtualAddresses:
    """The addresses of one instance."""

    def __init__(self, instance: VrrpInstance, host: Context) -> None:
        self._instance = instance
        self._entries = instance.moving_addresses
        self._host = host
        self._recheck_at: float | None = None
        self._recheck_not_before = float("-inf")
        self._renew_at: float | None = None
        self._ask_at: float | None = None
        self._extra_at: float | None = None
        self._conflict_not_before = float("-inf")
        self._taken_at = host.clock()
        self._routes = RoutesAndRules(
            instance.name, host.netlink, host.links, instance.routes, instance.rules
        )
        self._routes_at: float | None = None
        self._given_up: set[VirtualAddress] = set()
        """Somebody else has removed them, and they do not come back before the next master (no_track)."""

    @property
    def deadline(self) -> float | None:
        timers = (self._recheck_at, self._routes_at, self._renew_at, self._ask_at, self._extra_at)
        return min([timer for timer in timers if timer is not None], default=None)

    @property
    def _bases(self) -> dict[str, str]:
        return {each.name: each.base for each in self._instance.virtual_interfaces}

    def left_behind(self, present: list[InterfaceAddress]) -> tuple[bool, bool]:
        """(some are there, all are there and bear our mark)."""
        found = [match for entry in self._entries if (match := self._find(entry, present))]
        complete = len(found) == len(self._entries) and all(match.mark for match in found)
        if found:
            self._renew_at = self._host.clock() + RENEWAL
            self._shield()
        return bool(found), complete

    def take(self) -> None:
        """Put them on their interfaces, for a while: they are renewed as long as this process lives."""
        now = self._host.clock()
        if self._renew_at is None:
            self._taken_at = now
        self._given_up.clear()
        self._shield()
        self._assign()
        self._routes.take()
        self._renew_at = now + RENEWAL
        self._ask_at = now + FIRST_QUESTION
        self._extra_at = self._after_extra(now)

    def adopt(self, instance: VrrpInstance) -> None:
        """Other addresses from now on; what leaves was withdrawn, what comes the machine takes."""
        if self._renew_at is not None:
            self._routes.change(instance.routes, instance.rules)
        else:
            self._routes = RoutesAndRules(
                instance.name, self._host.netlink, self._host.links, instance.routes, instance.rules
            )
        self._instance = instance
        self._entries = instance.moving_addresses
        if self._renew_at is not None:
            self._shield()

    def release(self) -> None:
        """Take them away."""
        self._recheck_at = self._routes_at = self._renew_at = self._ask_at = self._extra_at = None
        self._routes.release()
        self.withdraw(self._entries)
        self._host.shield.want(self._instance.name, frozenset())

    def withdraw(self, entries: tuple[VirtualAddress, ...]) -> None:
        """Take some of them away."""
        self._host.pacer.forget(entries)
        for entry, error in withdraw(self._host.netlink, self._host.links, entries):
            if error.errno != errno.EADDRNOTAVAIL and entry.device in self._host.links:
                log.error(
                    "(%s) cannot remove %s from %s: %s",
                    *(self._instance.name, entry.address, entry.device, error),
                )

    def announce(self, repeat: int) -> OSError | None:
        """Tell the neighbours, unasked, that they are here. The last failure, or None."""
        return self._host.pacer.announce(self._entries, repeat, self._bases)

    def address_removed(self, removed: InterfaceAddress) -> None:
        """Some address has vanished from this host; if it is one of these, `advance` will look."""
        gone = [entry for entry in self._entries if self._is(entry, removed)]
        self._given_up.update(entry for entry in gone if not entry.tracked)
        if any(entry.tracked for entry in gone):
            self._recheck_at = max(self._host.clock(), self._recheck_not_before)

    def route_removed(self, message: Message) -> None:
        """Some route or rule has vanished from this host; if it is one of these, it is put back."""
        if self._renew_at is not None and self._routes.removed(message):
            self._routes_at = max(self._host.clock(), self._recheck_not_before)

    def is_conflict(self, answer: Answer) -> bool:
        """Whether an answer shows another host with one of these addresses; at most once a second."""
        now = self._host.clock()
        own = {link.mac for link in self._host.links.values()}
        if answer.mac in own or now < self._conflict_not_before:
            return False
        if not any(
            entry.address == answer.address and self._index(entry) == answer.index for entry in self._entries
        ):
            return False
        self._conflict_not_before = now + CONFLICT_SPACING
        return True

    def advance(self, now: float, held: bool, state: VrrpState) -> bool:
        """Do what is due at `now`. True: a master has lost addresses to somebody else."""
        lost = False
        if self._recheck_at is not None and now >= self._recheck_at:
            self._recheck_at = None
            self._recheck_not_before = now + RECHECK_SPACING
            lost = state is VrrpState.MASTER and self._some_are_missing()
        if self._routes_at is not None and now >= self._routes_at:
            self._routes_at = None
            self._recheck_not_before = now + RECHECK_SPACING
            if state is VrrpState.MASTER:
                self._routes.put_back()
        if self._renew_at is not None and now >= self._renew_at:
            self._renew_at = now + RENEWAL if held else None
            if held:
                self._assign()
                self._routes.renew()
                self._host.shield.verify()
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at = now + QUESTION_SPACING if state is VrrpState.MASTER else None
            if state is VrrpState.MASTER:
                self._host.announcer.probe(self._host.links, self._entries)
        if self._extra_at is not None and now >= self._extra_at:
            self._extra_at = self._after_extra(now)
            self._host.pacer.announce(self._quiet(), 1, self._bases)
        return lost

    def _after_extra(self, now: float) -> float | None:
        return now + self._instance.extra_announcements if self._instance.extra_announcements else None

    def _quiet(self) -> list[VirtualAddress]:
        """Those on interfaces that no adverts leave by: a switch may forget their MAC address."""
        virtual = {each.name for each in self._instance.virtual_interfaces}
        return [
            entry
            for entry in self._entries
            if entry.device != self._instance.advert_device
            and (self._instance.extra_everywhere or entry.device in virtual)
        ]

    def _shield(self) -> None:
        """Before they are here: with no_accept nobody is to reach them for a moment."""
        entries = () if self._instance.accepts else self._entries
        shielded = frozenset(
            Shielded(entry.address, self._index(entry) if entry.address.is_link_local else 0)
            for entry in entries
        )
        self._host.shield.want(self._instance.name, shielded)

    def _assign(self) -> None:
        entries = [entry for entry in self._entries if entry not in self._given_up]
        age = self._host.clock() - self._taken_at
        for entry, error in assign(self._host.netlink, self._host.links, entries, LIFETIME, age):
            log.error("(%s) cannot add %s to %s: %s", self._instance.name, entry.address, entry.device, error)

    def _some_are_missing(self) -> bool:
        present = addresses(self._host.netlink)
        missing = [
            entry
            for entry in self._entries
            if entry not in self._given_up and self._find(entry, present) is None
        ]
        if missing:
            names = ", ".join(str(entry.address) for entry in missing)
            log.warning("(%s) somebody has removed %s: putting it back", self._instance.name, names)
        return bool(missing)

    def _find(self, entry: VirtualAddress, present: list[InterfaceAddress]) -> InterfaceAddress | None:
        return next((found for found in present if self._is(entry, found)), None)

    def _index(self, entry: VirtualAddress) -> int:
        link = self._host.links.get(entry.device)
        return link.index if link else -1

    def _is(self, entry: VirtualAddress, found: InterfaceAddress) -> bool:
        return (found.index, found.address, found.prefix_length) == (
            *(self._index(entry), entry.address),
            entry.prefix_length,
        )
