# SPDX-License-Identifier: Apache-2.0
"""Virtual addresses of one instance: on the interfaces of this host, and in the neighbours' ARP tables."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pointsman.control.vrrp_messages import NotifyEvent
from pointsman.daemon.vrrp.garp_pacing import GarpPacer
from pointsman.daemon.vrrp.no_accept import AcceptFilter
from pointsman.daemon.vrrp.routes import RoutesAndRules
from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.addresses import IFA_PROTO_OURS, InterfaceAddress, addresses, assign, is_gone, withdraw
from pointsman.net.arp import AddressAnswer, Announcer
from pointsman.net.links import Link
from pointsman.net.netlink import Message, NetlinkSocket
from pointsman.net.nftables import FilteredAddress
from pointsman.net.sysctls import Sysctls
from pointsman.vrrp.conflicts import Conflicts
from pointsman.vrrp.dropped import DroppedAdverts

RECHECK_INTERVAL = 1.0
"""Minimum seconds between two checks for removed addresses, however often they are removed."""
LIFETIME = 30
"""Seconds after which the kernel removes virtual addresses that are not renewed.

After a crash without a restart they must not stay beside those of the new master.
"""
RENEW_INTERVAL = 10.0
"""Seconds between two renewals."""
FIRST_PROBE, PROBE_INTERVAL = 1.0, 10.0
"""Seconds from takeover to the first probe for another host with the addresses, and between two probes."""

log = logging.getLogger("vrrp")


class Context:
    """Objects that all instances of a process share."""

    def __init__(
        self,
        netlink: NetlinkSocket,
        links: dict[str, Link],
        clock: Callable[[], float],
        notify: Callable[[NotifyEvent], None],
        sysctls: Sysctls,
        accept_filter: AcceptFilter,
    ) -> None:
        self.netlink = netlink
        self.links = links
        self.clock = clock
        self.notify = notify
        """Queue an event for pm-scripts. Does not block."""
        self.announcer = Announcer()
        self.garp_pacer = GarpPacer(self.announcer, links, clock)
        self.sysctls = sysctls
        self.accept_filter = accept_filter
        self.dropped = DroppedAdverts()


class VirtualAddresses:
    """Virtual addresses of one instance, with its routes and rules."""

    def __init__(self, instance: VrrpInstance, context: Context) -> None:
        self._instance = instance
        self._entries = instance.moving_addresses
        self._context = context
        self._recheck_at: float | None = None
        self._recheck_not_before = float("-inf")
        self._renew_at: float | None = None
        self._probe_at: float | None = None
        self._extra_at: float | None = None
        self.conflicts = Conflicts()
        self._acquired_at = context.clock()
        self._routes = RoutesAndRules(
            instance.name, context.netlink, context.links, instance.routes, instance.rules
        )
        self._routes_at: float | None = None
        self._foreign: set[VirtualAddress] = set()
        """Addresses that were there before the start, without our mark. A takeover adopts them."""
        self._not_restored: set[VirtualAddress] = set()
        """Addresses with no_track that another program has removed. The next takeover adds them again."""

    @property
    def deadline(self) -> float | None:
        timers = (self._recheck_at, self._routes_at, self._renew_at, self._probe_at, self._extra_at)
        return min([timer for timer in timers if timer is not None], default=None)

    @property
    def _bases(self) -> dict[str, str]:
        return {each.name: each.base for each in self._instance.virtual_interfaces}

    def find_residual(self, present: list[InterfaceAddress]) -> tuple[bool, bool]:
        """Find what an earlier process has left: (some are present, all are present and have our mark)."""
        matches = {entry: match for entry in self._entries if (match := self._find(entry, present))}
        self._foreign = {entry for entry, match in matches.items() if match.proto != IFA_PROTO_OURS}
        found = list(matches.values())
        complete = len(found) == len(self._entries) and all(match.proto for match in found)
        if found:
            self._renew_at = self._context.clock() + RENEW_INTERVAL
            self._update_filter()
        return bool(found), complete

    def acquire(self) -> None:
        """Add the addresses with a lifetime. `advance` renews them as long as this process runs."""
        now = self._context.clock()
        if self._renew_at is None:
            self._acquired_at = now
        self._not_restored.clear()
        self._foreign.clear()
        self._update_filter()
        self._assign()
        self._routes.acquire()
        self._renew_at = now + RENEW_INTERVAL
        self._probe_at = now + FIRST_PROBE
        self.conflicts.on_takeover(now)
        self._extra_at = self._next_extra(now)

    def reconfigure(self, instance: VrrpInstance) -> None:
        """Use the addresses of a new configuration.

        The caller has already removed those that are not in it. The machine acquires the new ones.
        """
        if self._renew_at is not None:
            self._routes.reconfigure(instance.routes, instance.rules)
        else:
            self._routes = RoutesAndRules(
                instance.name, self._context.netlink, self._context.links, instance.routes, instance.rules
            )
        self._instance = instance
        self._entries = instance.moving_addresses
        if self._renew_at is not None:
            self._update_filter()

    @property
    def has_foreign(self) -> bool:
        """True if addresses are here that another program has added before the start."""
        return bool(self._foreign)

    def release(self, keeps_foreign: bool = False) -> None:
        """Remove all addresses, routes and rules. `keeps_foreign`: except addresses from before the start."""
        self._recheck_at = self._routes_at = self._renew_at = self._probe_at = self._extra_at = None
        self.conflicts.clear()
        self._routes.release()
        kept = self._foreign if keeps_foreign else set()
        for entry in kept:
            text = "(%s) %s on %s was there before the start: it stays"
            log.warning(text, self._instance.name, entry.address, entry.device)
        self._foreign = kept
        self.remove(tuple(entry for entry in self._entries if entry not in kept))
        self._context.accept_filter.set_addresses(self._instance.name, frozenset())

    def remove(self, entries: tuple[VirtualAddress, ...]) -> None:
        """Remove some of the addresses. Failures are logged."""
        self._context.garp_pacer.cancel(entries)
        for entry, error in withdraw(self._context.netlink, self._context.links, entries):
            if not is_gone(error):
                log.error(
                    "(%s) cannot remove %s from %s: %s",
                    *(self._instance.name, entry.address, entry.device, error),
                )

    def announce(self, repeat: int) -> OSError | None:
        """Send gratuitous ARP and unsolicited neighbour advertisements. Return the last failure, or None."""
        return self._context.garp_pacer.announce(self._entries, repeat, self._bases)

    def on_address_removed(self, removed: InterfaceAddress) -> None:
        """Schedule a check if the address that was removed from this host is one of these."""
        gone = [entry for entry in self._entries if self._is(entry, removed)]
        self._not_restored.update(entry for entry in gone if not entry.tracked)
        if any(entry.tracked for entry in gone):
            self._recheck_at = max(self._context.clock(), self._recheck_not_before)

    def on_route_removed(self, message: Message) -> None:
        """Schedule a restore if the route or rule that was removed from this host is one of these."""
        if self._renew_at is not None and self._routes.on_removed(message):
            self._routes_at = max(self._context.clock(), self._recheck_not_before)

    def recheck(self) -> None:
        """Schedule a check of all addresses, routes and rules."""
        self._recheck_at = max(self._context.clock(), self._recheck_not_before)
        if self._renew_at is not None:
            self._routes_at = self._recheck_at

    def is_conflict(self, answer: AddressAnswer) -> bool:
        """True if another host has answered for one of these addresses, and it is time to react."""
        if answer.mac in {link.mac for link in self._context.links.values()}:
            return False
        for entry in self._entries:
            base = self._bases.get(entry.device, entry.device)
            here = [link.index for name in (entry.device, base) if (link := self._context.links.get(name))]
            if entry.address == answer.address and answer.index in here:
                return self.conflicts.on_answer(self._context.clock(), answer.address, answer.mac)
        return False

    def advance(self, now: float, held: bool, state: VrrpState) -> bool:
        """Fire the timers that are due. Return True if another program has removed addresses of a master."""
        lost = False
        if self._recheck_at is not None and now >= self._recheck_at:
            self._recheck_at = None
            self._recheck_not_before = now + RECHECK_INTERVAL
            lost = state is VrrpState.MASTER and self._some_are_missing()
        if self._routes_at is not None and now >= self._routes_at:
            self._routes_at = None
            self._recheck_not_before = now + RECHECK_INTERVAL
            if state is VrrpState.MASTER:
                self._routes.put_back()
        if self._renew_at is not None and now >= self._renew_at:
            self._renew_at = now + RENEW_INTERVAL if held else None
            if held:
                self._assign()
                self._routes.renew()
                self._context.accept_filter.restore_table()
        if self._probe_at is not None and now >= self._probe_at:
            self._probe_at = now + PROBE_INTERVAL if state is VrrpState.MASTER else None
            if state is VrrpState.MASTER:
                self._probe()
        if self._extra_at is not None and now >= self._extra_at:
            self._extra_at = self._next_extra(now)
            self._context.garp_pacer.announce(self._on_other_interfaces(), 1, self._bases)
        return lost

    def _probe(self) -> None:
        """Ask who else has the addresses."""
        own = {entry.address for entry in self._entries}
        sources: dict[int, Address] = {}
        if any(address.version == 6 for address in own):
            for found in addresses(self._context.netlink):
                if found.address.version == 6 and found.address.is_link_local and found.address not in own:
                    sources.setdefault(found.index, found.address)
        self._context.announcer.probe(self._context.links, self._entries, self._bases, sources)

    def _next_extra(self, now: float) -> float | None:
        return now + self._instance.extra_announcements if self._instance.extra_announcements else None

    def _on_other_interfaces(self) -> list[VirtualAddress]:
        """Return the addresses on interfaces without adverts. A switch may forget their MAC address."""
        virtual = {each.name for each in self._instance.virtual_interfaces}
        return [
            entry
            for entry in self._entries
            if entry.device != self._instance.advert_device
            and (self._instance.extra_everywhere or entry.device in virtual)
        ]

    def _update_filter(self) -> None:
        """Update the accept filter. Call it before addresses are added: no_accept has no gap then."""
        entries = () if self._instance.accepts else self._entries
        shielded = frozenset(
            FilteredAddress(entry.address, self._index(entry) if entry.address.is_link_local else 0)
            for entry in entries
        )
        self._context.accept_filter.set_addresses(self._instance.name, shielded)

    def _assign(self) -> None:
        entries = [entry for entry in self._entries if entry not in self._not_restored | self._foreign]
        age = self._context.clock() - self._acquired_at
        for entry, error in assign(self._context.netlink, self._context.links, entries, LIFETIME, age):
            log.error("(%s) cannot add %s to %s: %s", self._instance.name, entry.address, entry.device, error)

    def _some_are_missing(self) -> bool:
        present = addresses(self._context.netlink)
        missing = [
            entry
            for entry in self._entries
            if entry not in self._not_restored and self._find(entry, present) is None
        ]
        if missing:
            names = ", ".join(str(entry.address) for entry in missing)
            log.warning("(%s) another program has removed %s: restoring it", self._instance.name, names)
        return bool(missing)

    def _find(self, entry: VirtualAddress, present: list[InterfaceAddress]) -> InterfaceAddress | None:
        return next((found for found in present if self._is(entry, found)), None)

    def _index(self, entry: VirtualAddress) -> int:
        link = self._context.links.get(entry.device)
        return link.index if link else -1

    def _is(self, entry: VirtualAddress, found: InterfaceAddress) -> bool:
        return (found.index, found.address, found.prefix_length) == (
            *(self._index(entry), entry.address),
            entry.prefix_length,
        )
