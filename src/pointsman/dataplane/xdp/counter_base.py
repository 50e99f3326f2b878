# SPDX-License-Identifier: Apache-2.0
"""Offsets of counters: the values at `ipvsadm -Z`, and the counts of deleted servers."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.dataplane.xdp.tables import Tables
from pointsman.dataplane.xdp.traffic_blocks import Sums, TrafficBlocks
from pointsman.model.traffic import PassiveCounters


class CounterBase:
    """The offsets of all counters.

    The total of a service is its offset plus the counts of its servers, so it keeps those of deleted servers.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._blocks = TrafficBlocks(tables)
        self._joining: dict[int, Sums] = {}
        """Servers that were created and are in no list yet: no packet counts for them."""

    def begin(self) -> None:
        """Read the counters anew, in blocks, for the operations that follow."""
        self._blocks = TrafficBlocks(self._tables)

    def passive_counters(self, index: int) -> PassiveCounters:
        """Return the passive counters of a server since it was created."""
        entry = self._tables.traffic_entry(index)
        values = entry.cast("I")
        return PassiveCounters(sum(entry.cast("Q")[0::4]), sum(values[6::8]), sum(values[7::8]))

    def reset_server(self, index: int) -> None:
        """Let the server count from 0."""
        origin = self._tables.dest_origins[index]
        origin.connections, origin.packets, origin.octets = self._tables.traffic_of(index)

    def start_server(self, index: int) -> None:
        """Let a server that was just created count from 0."""
        origin = self._tables.dest_origins[index]
        raw = self._joining[index] = self._blocks.of(index)
        origin.connections, origin.packets, origin.octets = raw

    def free_server(self, index: int) -> None:
        """Forget what was read of a server that is gone."""
        self._joining.pop(index, None)
        self._blocks.forget(index)

    def reset_service(self, service: int, servers: Iterable[int] = ()) -> None:
        """Let the service and these servers of it count from 0."""
        origin = self._tables.service_origins[service]
        origin.connections, origin.packets, origin.octets = 0, 0, 0
        for index in servers:
            self.reset_server(index)
            self.account_for(service, index, -1)

    def account_for(self, service: int, dest: int, sign: int) -> None:
        """Add the counts of a server that leaves the service (+1), or subtract those that join it (-1)."""
        raw = self._joining.pop(dest) if dest in self._joining else self._tables.traffic_of(dest)
        connections, packets, octets = raw
        if not (connections or packets):
            return
        origin = self._tables.service_origins[service]
        origin.connections += sign * connections
        origin.packets += sign * packets
        origin.octets += sign * octets
