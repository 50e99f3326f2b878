"""Routes and routing rules that somebody needs for a while: put there, put back, removed."""

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

_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV, None)
"""Errors of removing what is not there any more; None: the interface is gone, and its routes with it."""


class RoutesAndRules:
    """Of one owner, whose name is in the log."""

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
        self._given_up: set[VirtualRoute | VirtualRule] = set()
        """Somebody else has removed them, and they do not come back before the next master (no_track)."""
        self._once = LogOnce(log)

    def take(self) -> None:
        """All of them, also those that were given up."""
        self._given_up.clear()
        self.renew()

    def renew(self) -> list[VirtualRoute | VirtualRule]:
        """Have those that were not given up. Which of them cannot be had."""
        failures: list[VirtualRoute | VirtualRule] = []
        for each, error in self._assign():
            if error.errno == errno.EEXIST:
                continue
            failures.append(each)
            text = f"({self._owner}) cannot add {_name(each)}: {error}"
            self._once.error(text, "%s", text)
        return failures

    def put_back(self) -> list[VirtualRoute | VirtualRule]:
        """The same when somebody else has removed some of them."""
        every: list[VirtualRoute | VirtualRule] = [*self._routes, *self._rules]
        wanted = [each for each in every if each not in self._given_up]
        kept = {each: error.errno for each, error in self._assign()}
        back = [_name(each) for each in wanted if each not in kept]
        if back:
            log.warning("(%s) somebody has removed %s: put back", self._owner, ", ".join(back))
        return [each for each, code in kept.items() if code != errno.EEXIST]

    def change(self, wanted_routes: Collection[VirtualRoute], wanted_rules: Collection[VirtualRule]) -> None:
        """Others from now on: what is not wanted any more is removed, the rest is for `take`."""
        self._withdraw(
            [each for each in self._routes if each not in wanted_routes],
            [each for each in self._rules if each not in wanted_rules],
        )
        self._routes, self._rules = tuple(wanted_routes), tuple(wanted_rules)

    def release(self) -> None:
        """Take them away; rules first, so that none leads into an empty table."""
        self._withdraw(self._routes, self._rules)
        self._once.clear()

    def removed(self, message: Message) -> bool:
        """Whether a notification tells that something tracked may have been removed."""
        gone: list[VirtualRoute | VirtualRule] = []
        if message.type == route_table.RTM_DELROUTE:
            key = routes.parse_key(message)
            gone = [each for each in self._routes if routes.key_of(each) == key]
        elif message.type == rules.RTM_DELRULE:
            place = rules.parse_key(message)
            gone = [each for each in self._rules if rules.key_of(each) == place]
        self._given_up.update(each for each in gone if not each.tracked)
        return any(each.tracked for each in gone)

    def _assign(self) -> list[tuple[VirtualRoute | VirtualRule, OSError]]:
        wanted_routes = [each for each in self._routes if each not in self._given_up]
        wanted_rules = [each for each in self._rules if each not in self._given_up]
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
            if error.errno not in _GONE:
                log.error("(%s) cannot remove %s: %s", self._owner, _name(each), error)


def _name(each: VirtualRoute | VirtualRule) -> str:
    return f"the route to {each}" if isinstance(each, VirtualRoute) else f"the {each}"
