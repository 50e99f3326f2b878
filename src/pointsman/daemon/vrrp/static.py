"""Static addresses, routes and rules: there from start to end, put back when somebody removes them.

An address that was there before us without our mark is somebody else's: it is left alone, also at the end.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.routes import RoutesAndRules
from pointsman.model.routing import VirtualRoute, VirtualRule
from pointsman.model.vrrp import StaticSettings, VirtualAddress
from pointsman.net.addresses import VRRP_MARK, InterfaceAddress, addresses, assign_new, withdraw
from pointsman.net.links import Link
from pointsman.net.netlink import Message, NetlinkSocket

RECHECK_SPACING = 1.0
"""Seconds between two attempts to put something back, however often it vanishes."""

log = logging.getLogger("vrrp")


class StaticObjects:
    """Of one process. `faults` tells which instances cannot work without what cannot be had."""

    def __init__(
        self,
        settings: StaticSettings,
        netlink: NetlinkSocket,
        links: Mapping[str, Link],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._netlink = netlink
        self._links = links
        self._clock = clock
        self._routes = RoutesAndRules("static", netlink, links, settings.routes, settings.rules)
        self._strangers: set[VirtualAddress] = set()
        self._lost: list[VirtualAddress | VirtualRoute | VirtualRule] = []
        self._once = LogOnce(log)
        self._recheck_at: float | None = None
        self._not_before = float("-inf")

    @property
    def deadline(self) -> float | None:
        return self._recheck_at

    @property
    def settings(self) -> StaticSettings:
        return self._settings

    @property
    def faults(self) -> dict[str, str]:
        """Why an instance is in FAULT, by its name."""
        members = {group.name: group.members for group in self._settings.groups}
        return {
            name: f"static {_name(each)} is missing"
            for each in self._lost
            if each.track_group
            for name in members.get(each.track_group, ())
        }

    def start(self, present: list[InterfaceAddress]) -> None:
        """Have all of them."""
        self._strangers = {
            entry
            for entry in self._settings.addresses
            if any(self._is(entry, each) and each.mark != VRRP_MARK for each in present)
        }
        self._have()

    def adopt(self, settings: StaticSettings) -> None:
        """Others from now on."""
        gone = [each for each in self._settings.addresses if each not in settings.addresses]
        self._withdraw([each for each in gone if each not in self._strangers])
        self._routes.change(settings.routes, settings.rules)
        kept = self._strangers & set(settings.addresses)
        self._settings = settings
        self.start(addresses(self._netlink))
        self._strangers |= kept

    def stop(self) -> None:
        """Take away what we have put there."""
        self._recheck_at = None
        self._routes.release()
        self._withdraw([each for each in self._settings.addresses if each not in self._strangers])

    def address_removed(self, removed: InterfaceAddress) -> None:
        if any(self._is(entry, removed) for entry in self._settings.addresses):
            self._again()

    def route_removed(self, message: Message) -> None:
        if self._routes.removed(message):
            self._again()

    def links_changed(self) -> None:
        """What could not be had may be possible now."""
        if self._lost:
            self._again()

    def advance(self, now: float) -> None:
        if self._recheck_at is not None and now >= self._recheck_at:
            self._recheck_at = None
            self._not_before = now + RECHECK_SPACING
            self._have()

    def _again(self) -> None:
        self._recheck_at = max(self._clock(), self._not_before)

    def _have(self) -> None:
        before = {_name(each) for each in self._lost}
        self._lost = []
        for entry, error in assign_new(self._netlink, self._links, self._settings.addresses):
            if error.errno != errno.EEXIST:
                self._lost.append(entry)
                text = f"cannot add static {_name(entry)}: {error}"
                self._once.error(text, "%s", text)
        self._lost += self._routes.put_back() if self._not_before > 0 else self._routes.renew()
        for name in before - {_name(each) for each in self._lost}:
            log.info("static %s is there again", name)
            self._once.clear()

    def _withdraw(self, entries: list[VirtualAddress]) -> None:
        for entry, error in withdraw(self._netlink, self._links, entries):
            if error.errno != errno.EADDRNOTAVAIL and entry.device in self._links:
                log.error("cannot remove static %s: %s", _name(entry), error)

    def _is(self, entry: VirtualAddress, found: InterfaceAddress) -> bool:
        link = self._links.get(entry.device)
        return link is not None and (found.index, found.address) == (link.index, entry.address)


def _name(each: VirtualAddress | VirtualRoute | VirtualRule) -> str:
    if isinstance(each, VirtualAddress):
        return f"address {each.address}/{each.prefix_length} on {each.device}"
    return f"route to {each}" if isinstance(each, VirtualRoute) else str(each)
