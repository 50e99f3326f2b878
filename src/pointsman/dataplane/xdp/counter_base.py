"""What counters count from (ipvsadm -Z), and the share of servers that are gone."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.dataplane.xdp import libbpf
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.traffic import Signs


class CounterBase:
    """A service's totals are its origin plus its present servers'; so they outlive a server that goes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def _entry(self, index: int) -> memoryview:
        """What every CPU has counted for this entry ever (struct traffic)."""
        traffic, size = self._tables.descriptors["pm_traffic"], 32 * self._tables.cpus
        return memoryview(libbpf.map_lookup(traffic, index.to_bytes(4, "little"), size))

    def _raw(self, index: int) -> tuple[int, int, int]:
        """What the packet path has counted for this entry ever: connections, packets, octets."""
        values = self._entry(index).cast("Q")
        return sum(values[0::4]), sum(values[1::4]), sum(values[2::4])

    def passive_counters(self, index: int) -> Signs:
        """What a server that is watched has shown ever."""
        entry = self._entry(index)
        values = entry.cast("I")
        return Signs(sum(entry.cast("Q")[0::4]), sum(values[6::8]), sum(values[7::8]))

    def start_server(self, index: int) -> None:
        """The server counts from here on."""
        origin = self._tables.dest_origins[index]
        origin.connections, origin.packets, origin.octets = self._raw(index)

    def start_service(self, service: int, servers: Iterable[int] = ()) -> None:
        """The service and these servers of it count from here on."""
        origin = self._tables.service_origins[service]
        origin.connections, origin.packets, origin.octets = 0, 0, 0
        for index in servers:
            self.start_server(index)
            self.change(service, index, -1)

    def change(self, service: int, dest: int, sign: int) -> None:
        """A server leaves the service (+1: what it has counted stays) or comes (-1)."""
        origin = self._tables.service_origins[service]
        connections, packets, octets = self._raw(dest)
        origin.connections += sign * connections
        origin.packets += sign * packets
        origin.octets += sign * octets
