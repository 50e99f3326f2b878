# SPDX-License-Identifier: Apache-2.0
"""The counters of services and real servers, read from the maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import Tables, column
from pointsman.dataplane.xdp.traffic_blocks import SIZE, WORDS, Sums, TrafficBlocks, TrafficWatch
from pointsman.model.service import ServiceKey
from pointsman.model.traffic import ServerCounters, ServiceCounters, Traffic

_ONES = (1 << 64) - 1
_NO_TRAFFIC = Traffic()


class CounterReader:
    """Counters of services at one moment. Each costs what one service costs."""

    def __init__(self, tables: Tables, store: Store, sums: Callable[[int], Sums]) -> None:
        """`sums` returns the counters of one entry of `pm_traffic`."""
        self._store = store
        self._sums = sums
        self._loads = memoryview(tables.loads).cast("B").cast("Q")
        self._origins = memoryview(tables.dest_origins).cast("B").cast("Q")
        self._service_origins = memoryview(tables.service_origins).cast("B").cast("Q")

    def service(self, key: ServiceKey, service: int) -> ServiceCounters:
        """Return the counters of the service with this index."""
        indexes = self._store.servers.in_force(service)
        raw = [self._sums(index) for index in indexes]
        start = service * WORDS
        origin = self._service_origins[start : start + 3]
        totals = [sum(column) & _ONES for column in zip(origin, *raw, strict=True)]
        return ServiceCounters(key, _traffic(*totals), tuple(map(self._server, indexes, raw)))

    def _server(self, index: int, raw: Sums) -> ServerCounters:
        held, start = self._loads[2 * index], WORDS * index
        first, second, third = self._origins[start : start + 3]
        return ServerCounters(
            self._store.servers.key(index),
            held & 0xFFFFFFFF,
            held >> 32,
            self._loads[2 * index + 1] & 0xFFFFFFFF,
            _traffic(raw[0] - first & _ONES, raw[1] - second & _ONES, raw[2] - third & _ONES),
        )


def _traffic(connections: int, packets: int, octets: int) -> Traffic:
    return Traffic(connections, packets, octets) if connections or packets else _NO_TRAFFIC


def service_counters(tables: Tables, store: Store) -> Iterator[ServiceCounters]:
    """Yield the counters of each service. Services that are deleted meanwhile are left out."""
    reader = CounterReader(tables, store, TrafficBlocks(tables).of)
    for key, entry in store.entries():
        if store.is_in_force(key, entry):
            yield reader.service(key, entry.service)


def counters_of(tables: Tables, store: Store, key: ServiceKey) -> ServiceCounters | None:
    """Return the counters of one service; None: it is not in force."""
    index = store.index_of(key)
    return None if index is None else CounterReader(tables, store, tables.traffic_of).service(key, index)


def changed_counters(tables: Tables, store: Store, watch: TrafficWatch) -> Iterator[list[ServiceCounters]]:
    """Yield for each block the counters of services with new traffic, and of their neighbours in it."""
    owners = column(tables.dests, "service")
    reader = CounterReader(tables, store, TrafficBlocks(tables).of)
    keys: dict[int, ServiceKey] | None = None
    for number, has_changed in enumerate(watch.changes(store.servers.highest)):
        if not has_changed:
            yield []
            continue
        if keys is None:
            keys = store.keys_by_index()
        services = set(owners[number * SIZE : (number + 1) * SIZE])
        found = ((keys.pop(service, None), service) for service in services)
        yield [reader.service(key, service) for key, service in found if key is not None and key in store]
