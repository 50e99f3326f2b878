"""Offsets of counters: the start after `ipvsadm -Z`, and the share of deleted servers."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.traffic import PassiveCounters


class CounterBase:
    """A service's totals are its origin plus those of its servers, so they outlive a deleted server."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def _entry(self, index: int) -> memoryview:
        """Return struct traffic of this entry, one for each CPU."""
        traffic, size = self._tables.descriptors["pm_traffic"], 32 * self._tables.cpus
        return memoryview(libbpf.map_lookup(traffic, index.to_bytes(4, "little"), size))

    def _raw(self, index: int) -> tuple[int, int, int]:
        """Return connections, packets and octets of this entry, from its beginning on."""
        values = self._entry(index).cast("Q")
        return sum(values[0::4]), sum(values[1::4]), sum(values[2::4])

    def passive_counters(self, index: int) -> PassiveCounters:
        """Return the passive counters of a server, from its beginning on."""
        entry = self._entry(index)
        values = entry.cast("I")
        return PassiveCounters(sum(entry.cast("Q")[0::4]), sum(values[6::8]), sum(values[7::8]))

    def start_server(self, index: int) -> None:
        """Let the server count from here on."""
        origin = self._tables.dest_origins[index]
        origin.connections, origin.packets, origin.octets = self._raw(index)

    def start_service(self, service: int, servers: Iterable[int] = ()) -> None:
        """Let the service and these servers of it count from here on."""
        origin = self._tables.service_origins[service]
        origin.connections, origin.packets, origin.octets = 0, 0, 0
        for index in servers:
            self.start_server(index)
            self.change(service, index, -1)

    def change(self, service: int, dest: int, sign: int) -> None:
        """Account for a server that leaves the service (+1: its counts stay) or joins it (-1)."""
        origin = self._tables.service_origins[service]
        connections, packets, octets = self._raw(dest)
        origin.connections += sign * connections
        origin.packets += sign * packets
        origin.octets += sign * octets
