# SPDX-License-Identifier: Apache-2.0
"""Virtual routes and routing rules of one owner: added, restored, removed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Mapping

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.model.routing import VirtualRoute, VirtualRule
from pointsman.net import route_table, routes, rules
from pointsman.net.links import Link
from pointsman.net.netlink import Message, NetlinkSocket

log = logging.getLogger("vrrp")

_ALREADY_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV, None)
"""Errors of removing what does not exist. None: the interface is gone, and its routes with it."""


class RoutesAndRules:
    """Routes and rules of one owner. Log lines contain its name."""

    def __init__(
        self,
        owner: str,
        netlink: NetlinkSocket,
        links: Mapping[str, Link],
        wanted_routes: Collection[VirtualRoute],
        wanted_rules: Collection[VirtualRule],
    ) -> None:
        self._owner = owner
        self._netlink = netlink
        self._links = links
        self._routes = tuple(wanted_routes)
        self._rules = tuple(wanted_rules)
        self._not_restored: set[VirtualRoute | VirtualRule] = set()
        """Those with no_track that another program has removed. The next takeover adds them again."""
        self._once = LogOnce(log)

    def acquire(self) -> None:
        """Add all, also those with no_track that were removed."""
        self._not_restored.clear()
        self.renew()

    def renew(self) -> list[VirtualRoute | VirtualRule]:
        """Add the missing ones, except removed ones with no_track. Return those that cannot be added."""
        failures: list[VirtualRoute | VirtualRule] = []
        for each, error in self._assign():
            if error.errno == errno.EEXIST:
                continue
            failures.append(each)
            text = f"({self._owner}) cannot add {_name(each)}: {error}"
            self._once.error(text, "%s", text)
        return failures

    def put_back(self) -> list[VirtualRoute | VirtualRule]:
        """Do the same as `renew`, and log those that another program has removed."""
        every: list[VirtualRoute | VirtualRule] = [*self._routes, *self._rules]
        wanted = [each for each in every if each not in self._not_restored]
        kept = {each: error.errno for each, error in self._assign()}
        restored = [_name(each) for each in wanted if each not in kept]
        if restored:
            log.warning("(%s) another program has removed %s: restored", self._owner, ", ".join(restored))
        return [each for each, code in kept.items() if code != errno.EEXIST]

    def reconfigure(
        self, wanted_routes: Collection[VirtualRoute], wanted_rules: Collection[VirtualRule]
    ) -> None:
        """Use other routes and rules. This removes the old ones only; `acquire` adds the new ones."""
        self._withdraw(
            [each for each in self._routes if each not in wanted_routes],
            [each for each in self._rules if each not in wanted_rules],
        )
        self._routes, self._rules = tuple(wanted_routes), tuple(wanted_rules)

    def release(self) -> None:
        """Remove all. Rules are removed first, so that no rule refers to an empty table."""
        self._withdraw(self._routes, self._rules)
        self._once.clear()

    def on_removed(self, message: Message) -> bool:
        """Process a notification of the kernel. Return True if one of these may have been removed."""
        gone: list[VirtualRoute | VirtualRule] = []
        if message.type == route_table.RTM_DELROUTE:
            key = routes.parse_key(message)
            gone = [each for each in self._routes if routes.key_of(each) == key]
        elif message.type == rules.RTM_DELRULE:
            place = rules.parse_key(message)
            gone = [each for each in self._rules if rules.key_of(each) == place]
        self._not_restored.update(each for each in gone if not each.tracked)
        return any(each.tracked for each in gone)

    def _assign(self) -> list[tuple[VirtualRoute | VirtualRule, OSError]]:
        wanted_routes = [each for each in self._routes if each not in self._not_restored]
        wanted_rules = [each for each in self._rules if each not in self._not_restored]
        return [
            *routes.assign(self._netlink, self._links, wanted_routes),
            *rules.assign(self._netlink, wanted_rules),
        ]

    def _withdraw(
        self, unwanted_routes: Collection[VirtualRoute], unwanted_rules: Collection[VirtualRule]
    ) -> None:
        failures: list[tuple[VirtualRoute | VirtualRule, OSError]] = [
            *rules.withdraw(self._netlink, unwanted_rules),
            *routes.withdraw(self._netlink, self._links, unwanted_routes),
        ]
        for each, error in failures:
            if error.errno not in _ALREADY_GONE:
                log.error("(%s) cannot remove %s: %s", self._owner, _name(each), error)


def _name(each: VirtualRoute | VirtualRule) -> str:
    return f"the route to {each}" if isinstance(each, VirtualRoute) else f"the {each}"
