# SPDX-License-Identifier: Apache-2.0
"""Next hops of the real servers: follow the kernel's neighbours, write them to the data plane."""

from __future__ import annotations

import logging
from collections import defaultdict

from pointsman.daemon.director.status import hop_text
from pointsman.dataplane.interface import DataPlane
from pointsman.model.address import Address
from pointsman.model.next_hop import NextHop
from pointsman.model.service import Forwarding, ServiceTable
from pointsman.net.neighbours import NeighbourWatcher

log = logging.getLogger("director")


class NextHops:
    """Next hop of each real server in the table of one data plane."""

    def __init__(self, plane: DataPlane) -> None:
        """Raises OSError if netlink cannot be used."""
        self._plane = plane
        self._watcher = NeighbourWatcher()
        self._found: dict[str, NextHop] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when neighbours have changed."""
        return self._watcher.fileno()

    def watch(self, table: ServiceTable) -> None:
        """Follow the next hops of exactly the real servers in this table."""
        servers: defaultdict[Forwarding, set[Address]] = defaultdict(set)
        for entry in table:
            for server in entry.servers:
                servers[server.forwarding].add(server.key.address)
        self._apply(self._watcher.watch(servers[Forwarding.ROUTE], servers[Forwarding.TUNNEL]))

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
