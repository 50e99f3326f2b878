# SPDX-License-Identifier: Apache-2.0
"""A director takes over the tables of one of another version, or of another size, while packets flow."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bpf.records.services import all_records, records_in
from tests.support.cluster import (
    KEY,
    OPERATIONS,
    RIP,
    VIP,
    Cluster,
    connected,
    exchange,
    running_cluster,
)

from pointsman.dataplane.interface import DataPlaneError, TakeCounts
from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.dataplane.xdp.records.exchange import Lane, OpenExchange
from pointsman.lab import namespace
from pointsman.packets.record import Record, RecordFlag

pytestmark = pytest.mark.root

MANY = 3000
OTHER = "abi-0123456789abcdef"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster(Cluster()) as made:
        yield made


def folder(cluster: Cluster) -> Path:
    """Return the only folder of tables."""
    (found,) = (path for path in cluster.pins.iterdir() if path.name.startswith("abi-"))
    return found


def record(number: int, **fields: object) -> bytes:
    values: dict[str, object] = {
        "client": ipaddress.IPv4Address((172 << 24) + number),
        "client_port": 4000,
        "virtual": ipaddress.ip_address(VIP),
        "virtual_port": 80,
        "server": ipaddress.ip_address(RIP),
        "server_port": 80,
        "protocol": 6,
        "flags": RecordFlag.CARRIED,
        "seconds": 900,
        "state": 2,
    }
    return Record(**(values | fields)).encode()  # type: ignore[arg-type]


def reopened(cluster: Cluster, limit: int) -> XdpDataPlane:
    with namespace.entered(cluster.director):
        return XdpDataPlane.open(cluster.pins, ["d0"], "auto", limit)


def resolve(cluster: Cluster, plane: XdpDataPlane) -> None:
    hop = cluster.hop()
    with namespace.entered(cluster.director):
        plane.set_next_hops([hop])


def take_over(cluster: Cluster, plane: XdpDataPlane) -> TakeCounts | None:
    with namespace.entered(cluster.director):
        return plane.take_over()


def test_an_upgrade_carries_every_connection_over(cluster: Cluster) -> None:
    with cluster_with_connections(cluster) as (caller, answerer):
        folder(cluster).rename(cluster.pins / OTHER)
        plane = cluster.open()
        assert plane.capabilities().attachments[0].reason == "adopted"
        assert not list(plane.read()), "another version's services come from the configuration"
        exchange(caller, answerer, b"the earlier tables forward")
        assert not plane.apply(OPERATIONS)
        resolve(cluster, plane)
        exchange(caller, answerer, b"still")
        assert take_over(cluster, plane) == TakeCounts(added=MANY + 1)
        assert take_over(cluster, plane) is None
        assert folder(cluster).name != OTHER
        exchange(caller, answerer, b"the new tables forward")
        records = all_records(plane)
        assert len(records) == MANY + 1
        assert all(each.flags == RecordFlag.CARRIED for each in records)
        assert plane.counters().of(KEY).servers[0].active == MANY + 1
        plane.close(keep_forwarding=False)


@contextlib.contextmanager
def cluster_with_connections(cluster: Cluster) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Leave a director's tables with many connections, and one that is really there."""
    plane = cluster.start()
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"before")
        many = b"".join(record(number) for number in range(MANY))
        assert plane.exchange.take(many, ours=True).added == MANY
        plane.close(keep_forwarding=True)
        yield caller, answerer


@pytest.mark.parametrize("limit", [3100, 100_000])
def test_tables_grow_and_shrink_without_losing_an_entry(cluster: Cluster, limit: int) -> None:
    with cluster_with_connections(cluster) as (caller, answerer):
        plane = reopened(cluster, limit)
        assert [entry.service.key for entry in plane.read()] == [KEY], "the same version reads the services"
        resolve(cluster, plane)
        taken = take_over(cluster, plane)
        assert taken is not None and taken.added + taken.full == MANY + 1
        assert taken.full <= MANY // 1000, "as many as any table of this fill refuses (docs/data-plane.md)"
        exchange(caller, answerer, b"after")
        assert abs(plane.capabilities().connection_limit - limit) <= 2
        assert len(all_records(plane)) == taken.added
        plane.close(keep_forwarding=True)
        again = reopened(cluster, limit)
        assert take_over(cluster, again) is None, "the size fits now"
        assert len(all_records(again)) == taken.added
        exchange(caller, answerer, b"and the next director")
        again.close(keep_forwarding=False)


def test_what_cannot_be_carried_is_counted(cluster: Cluster) -> None:
    with cluster_with_connections(cluster):
        folder(cluster).rename(cluster.pins / OTHER)
        plane = cluster.open()
        assert take_over(cluster, plane) == TakeCounts(no_service=MANY + 1)
        assert all_records(plane) == []
        plane.close(keep_forwarding=False)


def test_a_version_without_records_leaves_nothing(cluster: Cluster) -> None:
    cluster.start().close(keep_forwarding=True)
    shutil.rmtree(folder(cluster) / "programs")
    folder(cluster).rename(cluster.pins / OTHER)
    plane = cluster.start()
    assert take_over(cluster, plane) == TakeCounts()
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"new")
    plane.close(keep_forwarding=False)


def test_a_director_that_is_killed_before_it_takes_over_has_changed_nothing(cluster: Cluster) -> None:
    with cluster_with_connections(cluster) as (caller, answerer):
        folder(cluster).rename(cluster.pins / OTHER)
        killed = cluster.start()
        killed.close(keep_forwarding=True)
        exchange(caller, answerer, b"the earlier tables forward")
        assert folder(cluster).name == OTHER
        plane = cluster.start()
        assert take_over(cluster, plane) == TakeCounts(added=MANY + 1)
        exchange(caller, answerer, b"after")
        assert sorted(path.name for path in cluster.pins.iterdir()) == [folder(cluster).name, "links"]
        plane.close(keep_forwarding=False)


def test_another_process_gives_and_takes_by_the_pins(cluster: Cluster) -> None:
    plane = cluster.start()
    other = OpenExchange(cluster.pins, Lane.SYNC)
    other.sync = True
    assert plane.exchange.sync
    assert other.take(record(1)) == TakeCounts(added=1)
    assert len(all_records(plane)) == 1
    with connected(cluster):
        (run,) = other.outbox.read()
        assert [each.state for each in records_in(run)] == [2]
    other.close()
    plane.close(keep_forwarding=False)
    with pytest.raises(DataPlaneError, match="no director's tables"):
        OpenExchange(cluster.pins, Lane.SYNC)


def test_the_addresses_of_vrrp_stay_until_it_tells_them(cluster: Cluster) -> None:
    plane, mac = cluster.start(), bytes.fromhex("00005e000101")
    with namespace.entered(cluster.director):
        plane.set_virtual_macs([("d0", mac)])
    before = libbpf.map_keys(plane.tables.descriptors["pm_virtual_macs"], 8)
    plane.close(keep_forwarding=True)
    folder(cluster).rename(cluster.pins / OTHER)
    plane = cluster.open()
    assert libbpf.map_keys(plane.tables.descriptors["pm_virtual_macs"], 8) == before != []
    plane.close(keep_forwarding=False)
