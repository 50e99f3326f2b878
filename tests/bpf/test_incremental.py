# SPDX-License-Identifier: Apache-2.0
"""What the director knows of its table, operation by operation, is what the maps contain."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.program_run import VIP, Director, tcp

from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import Sizes
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
    ZeroCounters,
)
from pointsman.model.service import (
    Forwarding,
    Front,
    RealServer,
    ServerKey,
    ServiceKey,
    Transport,
    Tunnel,
    TunnelType,
    VirtualService,
)

pytestmark = pytest.mark.root

V4, V6 = ipaddress.ip_address("192.168.100.9"), ipaddress.ip_address("fd00:100::9")
KEYS = [
    ServiceKey.of(Transport.TCP, V4, 80),
    ServiceKey.of(Transport.TCP, V4, 21),
    ServiceKey.of(Transport.UDP, V4, 0),
    ServiceKey.of(Transport.TCP, V6, 80),
    ServiceKey.mark(7),
]
SERVERS = [
    ServerKey(ipaddress.ip_address(address), 80)
    for address in ("192.168.100.11", "192.168.100.12", "192.168.100.13", "fd00:100::11")
]
keys, server_keys = st.sampled_from(KEYS), st.sampled_from(SERVERS)
services = st.builds(
    VirtualService,
    key=keys,
    scheduler=st.sampled_from(["rr", "wrr", "wlc", "sh", "mh"]),
    persistence=st.sampled_from([None, 300]),
    fronts=st.sampled_from([frozenset(), frozenset({Front(Transport.TCP, V4, 80)})]),
)
servers = st.builds(
    RealServer,
    key=server_keys,
    forwarding=st.sampled_from([Forwarding.ROUTE, Forwarding.ROUTE, Forwarding.TUNNEL]),
    tunnel=st.sampled_from([Tunnel(), Tunnel(TunnelType.GUE, 6080)]),
    weight=st.integers(0, 3),
    upper_threshold=st.sampled_from([0, 100]),
    resets_clients=st.booleans(),
    is_watched=st.booleans(),
)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(AddService, services),
    st.builds(AddServer, keys, servers),
    st.builds(AddServer, keys, servers),
    st.builds(EditService, services),
    st.builds(EditServer, keys, servers),
    st.builds(DeleteServer, keys, server_keys),
    st.builds(DeleteService, keys),
    st.builds(ZeroCounters, st.none() | keys),
    st.just(Flush()),
)
PACKETS = [tcp("S", f"10.0.0.{host}", 1000 + host, 80) for host in (1, 2)]


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    with Director() as made:
        yield made


@settings(deadline=None, max_examples=60)
@example(
    batches=[
        [AddService(VirtualService(key=KEYS[0])), AddServer(KEYS[0], RealServer(key=SERVERS[0]))],
        [DeleteService(KEYS[0])],
    ],
    clients=1,
)
@given(batches=st.lists(st.lists(operations, max_size=8), max_size=6), clients=st.integers(0, 2))
def test_the_table_in_memory_is_one_that_is_read_from_the_maps(
    director: Director, batches: list[list[Operation]], clients: int
) -> None:
    """After every batch, with packets between them whose connections keep deleted servers in place."""
    plane = director.plane
    plane.apply([Flush()])
    plane.tables.control.now += 4000
    director.sweep()
    for batch in batches:
        plane.apply(batch)
        before = written(director)
        rebuilt = Store(plane.tables, plane._words)
        assert written(director) == before, "there is nothing to repair"
        assert plane.read() == rebuilt.table()
        assert plane.read() is plane.read()
        assert plane.store.entries() == rebuilt.entries()
        for key in KEYS:
            assert plane.entry(key) == rebuilt.table().get(key)
        assert plane.passive_counters() == rebuilt.passive_counters()
        assert plane.store.front_keys() == rebuilt.front_keys()
        counted = {item.key: item for item in plane.service_counters()}
        assert list(counted) == [entry.service.key for entry in plane.read()]
        assert all(plane.counters_of(key) == counted.get(key) for key in KEYS)
        for packet in PACKETS[:clients]:
            director.send(packet)


def written(director: Director) -> list[bytes]:
    tables = director.plane.tables
    return [
        bytes(memoryview(array).cast("B"))
        for array in (tables.fronts, tables.fronts6, tables.services, tables.members, tables.dests)
    ]


def test_only_services_with_traffic_are_read_for_rates() -> None:
    """Services are read in blocks of real servers, so each has more of them than a block has here."""
    ports = range(80, 84)
    here = [ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), port) for port in ports]
    sizes = Sizes(connections=1024, connections6=64, templates=64, services=16, dests=2048, members=1 << 12)
    with Director(sizes) as director:
        plane = director.plane
        addresses = [ipaddress.IPv4Address("192.168.100.11") + number for number in range(300)]
        for key in here:
            plane.apply([AddService(VirtualService(key=key, scheduler="rr"))])
            plane.apply([AddServer(key, RealServer(key=ServerKey(each, 80))) for each in addresses])

        def changed() -> set[int]:
            return {counted.key.port for part in plane.changed_counters() for counted in part}

        changed()
        assert changed() == set()
        director.send(tcp("S", "10.0.0.1", 1000, 82))
        assert 82 in changed() <= {81, 82, 83}
        assert changed() == set()
        director.send(tcp("S", "10.0.0.2", 1000, 80))
        plane.apply([DeleteService(here[0])])
        assert 80 not in changed()
