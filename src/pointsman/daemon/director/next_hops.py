# SPDX-License-Identifier: Apache-2.0
"""Next hops of the real servers: follow the kernel's neighbours, write them to the data plane."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from pointsman.daemon.director.status import hop_text
from pointsman.dataplane.interface import DataPlane
from pointsman.model.address import Address
from pointsman.model.next_hop import NextHop
from pointsman.model.service import Forwarding, RealServer, ServiceKey
from pointsman.net.neighbours import NeighbourWatcher

log = logging.getLogger("director")


class NextHops:
    """Next hop of each real server in the table of one data plane."""

    def __init__(self, plane: DataPlane) -> None:
        """Raises OSError if netlink cannot be used."""
        self._plane = plane
        self._watcher = NeighbourWatcher()
        self._found: dict[str, NextHop] = {}
        self._servers: dict[ServiceKey, tuple[RealServer, ...]] = {}
        """The real servers of each service that are followed."""
        self._users: dict[Forwarding, Counter[Address]] = {method: Counter() for method in Forwarding}
        """Number of followed real servers with each address, by forwarding method."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when neighbours have changed."""
        return self._watcher.fileno()

    def follow(self, changed: Iterable[ServiceKey]) -> None:
        """Follow the next hops of the real servers that these services have now, and of no former ones."""
        before = {method: set(users) for method, users in self._users.items()} if changed else {}
        for key in changed:
            entry = self._plane.entry(key)
            servers = entry.servers if entry else ()
            self._count(self._servers.pop(key, ()), -1)
            self._count(servers, +1)
            if servers:
                self._servers[key] = servers
        if any(before[method] != self._users[method].keys() for method in before):
            direct, tunnelled = self._users[Forwarding.ROUTE], self._users[Forwarding.TUNNEL]
            self._apply(self._watcher.watch(direct, tunnelled))

    def _count(self, servers: Iterable[RealServer], more: int) -> None:
        for server in servers:
            users = self._users[server.forwarding]
            users[server.key.address] += more
            if not users[server.key.address]:
                del users[server.key.address]

    def refresh(self, now: float) -> None:
        """Read changes, and probe the neighbours that are due: lost ones at once."""
        self._apply(self._watcher.refresh(now))

    def _apply(self, hops: list[NextHop]) -> None:
        if not hops:
            return
        for hop in hops:
            self._found[str(hop.address)] = hop
            if log.isEnabledFor(logging.DEBUG):
                log.debug("next hop of %s: %s", hop.address, hop_text(hop))
        self._plane.set_next_hops(hops)

    def texts(self) -> dict[str, str]:
        """Return each next hop for `status`, by the address of the real server."""
        return {address: hop_text(hop) for address, hop in self._found.items()}

    def problems(self) -> list[str]:
        """Return the problems of next hops for `status`."""
        return list(self._watcher.problems().values())

    def close(self) -> None:
        """Stop following neighbours."""
        self._watcher.close()
