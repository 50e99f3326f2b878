# SPDX-License-Identifier: Apache-2.0
"""Static addresses, routes and rules: present from start to stop, restored if another program removes them.

An address that was present before the start and has no mark of ours belongs to another program. It is not
changed, and not removed at the stop.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.routes import RoutesAndRules
from pointsman.model.routing import VirtualRoute, VirtualRule
from pointsman.model.vrrp import StaticSettings, VirtualAddress
from pointsman.net.addresses import IFA_PROTO_OURS, InterfaceAddress, addresses, assign_new, is_gone, withdraw
from pointsman.net.links import Link
from pointsman.net.netlink import Message, NetlinkSocket

RECHECK_INTERVAL = 1.0
"""Minimum seconds between two attempts to restore something, however often it is removed."""

log = logging.getLogger("vrrp")


class StaticObjects:
    """All static objects of a process. `faults` contains the instances in FAULT for a missing one."""

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
        self._foreign: set[VirtualAddress] = set()
        self._missing: list[VirtualAddress | VirtualRoute | VirtualRule] = []
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
        """Reasons of instances in FAULT, by the name of the instance (track_group)."""
        members = {group.name: group.members for group in self._settings.groups}
        return {
            name: f"static {_name(each)} is missing"
            for each in self._missing
            if each.track_group
            for name in members.get(each.track_group, ())
        }

    def start(self, present: list[InterfaceAddress]) -> None:
        """Add all static objects. `present`: the addresses of this host before that."""
        self._foreign = {
            entry
            for entry in self._settings.addresses
            if any(self._is(entry, each) and each.proto != IFA_PROTO_OURS for each in present)
        }
        self._restore()

    def reconfigure(self, settings: StaticSettings) -> None:
        """Use other static objects. Those that are not wanted any more are removed."""
        gone = [each for each in self._settings.addresses if each not in settings.addresses]
        self._withdraw([each for each in gone if each not in self._foreign])
        self._routes.reconfigure(settings.routes, settings.rules)
        kept = self._foreign & set(settings.addresses)
        self._settings = settings
        self.start(addresses(self._netlink))
        self._foreign |= kept

    def stop(self) -> None:
        """Remove the objects that this process has added."""
        self._recheck_at = None
        self._routes.release()
        self._withdraw([each for each in self._settings.addresses if each not in self._foreign])

    def on_address_removed(self, removed: InterfaceAddress) -> None:
        if any(self._is(entry, removed) for entry in self._settings.addresses):
            self.recheck()

    def on_route_removed(self, message: Message) -> None:
        if self._routes.on_removed(message):
            self.recheck()

    def on_links_changed(self) -> None:
        """Schedule another attempt for objects that could not be added."""
        if self._missing:
            self.recheck()

    def advance(self, now: float) -> None:
        if self._recheck_at is not None and now >= self._recheck_at:
            self._recheck_at = None
            self._not_before = now + RECHECK_INTERVAL
            self._restore(is_recheck=True)

    def recheck(self) -> None:
        """Schedule a check of all static objects. Missing ones are restored then."""
        self._recheck_at = max(self._clock(), self._not_before)

    def _restore(self, is_recheck: bool = False) -> None:
        before = {_name(each) for each in self._missing}
        self._missing = []
        failures = assign_new(self._netlink, self._links, self._settings.addresses)
        added = set(self._settings.addresses) - {entry for entry, _ in failures}
        if is_recheck and (lost := [name for name in map(_name, added) if name not in before]):
            log.warning("another program has removed static %s: restored", ", ".join(sorted(lost)))
        for entry, error in failures:
            if error.errno != errno.EEXIST:
                self._missing.append(entry)
                text = f"cannot add static {_name(entry)}: {error}"
                self._once.error(text, "%s", text)
        self._missing += self._routes.put_back() if is_recheck else self._routes.renew()
        for name in before - {_name(each) for each in self._missing}:
            log.info("static %s is present again", name)
            self._once.clear()

    def _withdraw(self, entries: list[VirtualAddress]) -> None:
        for entry, error in withdraw(self._netlink, self._links, entries):
            if not is_gone(error):
                log.error("cannot remove static %s: %s", _name(entry), error)

    def _is(self, entry: VirtualAddress, found: InterfaceAddress) -> bool:
        link = self._links.get(entry.device)
        return link is not None and (found.index, found.address) == (link.index, entry.address)


def _name(each: VirtualAddress | VirtualRoute | VirtualRule) -> str:
    if isinstance(each, VirtualAddress):
        return f"address {each.address}/{each.prefix_length} on {each.device}"
    return f"route to {each}" if isinstance(each, VirtualRoute) else str(each)
