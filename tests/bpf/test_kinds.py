# SPDX-License-Identifier: Apache-2.0
"""Kinds of interfaces besides cables that this kernel can make: macvlan and bridge, as ways in and out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.cluster import (
    KEY,
    OPERATIONS,
    RIP,
    SERVER,
    VIP,
    Cluster,
    connected,
    exchange,
    running_cluster,
)

from pointsman.dataplane.xdp.kernel import ingress, interfaces
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace, offload
from pointsman.model.next_hop import NextHop

pytestmark = pytest.mark.root


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster(Cluster()) as made:
        yield made


def put_on(cluster: Cluster, kind: str, parent: str, name: str, address: str) -> None:
    """Give the director an interface above (macvlan) or around (bridge) a cable, with the cable's address."""
    cluster.run(cluster.director, f"ip address del {address} dev {parent}")
    if kind == "macvlan":
        cluster.run(cluster.director, f"ip link add {name} link {parent} type macvlan mode bridge")
        # Otherwise the interface below answers ARP for it, too, and gets the frames.
        cluster.run(cluster.director, f"sysctl -qw net.ipv4.conf.{parent}.arp_ignore=1")
    else:
        cluster.run(cluster.director, f"ip link add {name} type bridge")
        cluster.run(cluster.director, f"ip link set {parent} master {name}")
    cluster.run(cluster.director, f"ip link set {name} up")
    cluster.run(cluster.director, f"sysctl -qw net.ipv4.conf.{name}.rp_filter=0")
    cluster.run(cluster.director, f"ip address add {address} dev {name}")


@pytest.mark.parametrize("mode", ["tc", "generic"])
@pytest.mark.parametrize("kind", ["macvlan", "bridge"])
def test_a_connection_comes_in_by_one_and_leaves_by_another(cluster: Cluster, kind: str, mode: str) -> None:
    """Two ways in, too: the program is on both, and clients may come by either."""
    put_on(cluster, kind, "d0", "in0", f"{VIP}/24")
    put_on(cluster, kind, "d1", "out0", "10.8.0.1/24")
    cluster.run(cluster.client, "ip link set c0 gso_max_segs 1")
    with namespace.entered(cluster.director):
        plane = XdpDataPlane.open(cluster.pins, ["in0", "out0"], mode, 4096)
        assert not plane.apply(OPERATIONS)
        source, index = interfaces.hardware_address("out0"), interfaces.index_of("out0")
        plane.set_next_hops([NextHop(SERVER.key.address, index, source, cluster.mac(cluster.server, "s0"))])
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"by way of " + kind.encode())
        assert [str(item.server) for item in plane.connections()] == [RIP]
    assert plane.counters().of(KEY).traffic.packets >= 3
    assert [(item.interface, item.mode) for item in plane.capabilities().attachments] == [
        ("in0", mode),
        ("out0", mode),
    ]
    plane.close(keep_forwarding=False)


@pytest.mark.parametrize("kind", ["macvlan", "bridge"])
def test_native_xdp_gives_way_where_it_cannot_send(cluster: Cluster, kind: str) -> None:
    """Packets that native XDP redirects to such an interface are lost silently; those of tc are not."""
    put_on(cluster, kind, "d1", "out0", "10.8.0.1/24")
    cluster.prepare_native()
    cluster.open("native").close(keep_forwarding=True)
    plane = cluster.open("auto")
    assert plane.capabilities().attachments[0].mode == "native"
    assert not plane.apply(OPERATIONS)
    with namespace.entered(cluster.director):
        source, index = interfaces.hardware_address("out0"), interfaces.index_of("out0")
        plane.set_next_hops([NextHop(SERVER.key.address, index, source, cluster.mac(cluster.server, "s0"))])
        assert plane.follow_interfaces() == []
    attached = plane.capabilities().attachments[0]
    assert (attached.mode, "out0 cannot send what it redirects" in attached.reason) == ("tc", True)
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"by tc")
    plane.close(keep_forwarding=False)


def test_native_xdp_says_which_way_out_loses_what_it_redirects(cluster: Cluster) -> None:
    """virtio_net sends redirected packets only with a program of its own, veth if its peer takes them."""
    offload.complete_checksums(cluster.client, "c0")
    offload.accept_frames(cluster.client, "c0")
    plane = cluster.start("native")
    with namespace.entered(cluster.director):
        (problem,) = plane.follow_interfaces()
        assert "d1 cannot send what it redirects" in problem
        assert plane.capabilities().attachments[0].mode == "native"
    offload.accept_frames(cluster.server, "s0")
    with namespace.entered(cluster.director):
        assert plane.follow_interfaces() == []
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"by native XDP")
    plane.close(keep_forwarding=False)


@pytest.mark.parametrize(
    ("driver", "is_native", "sends"),
    [
        ("virtio_net", False, False),
        ("virtio_net", True, True),
        ("ixgbe", False, True),
        ("team", False, False),
    ],
)
def test_older_kernels_do_not_tell_and_the_driver_decides(
    monkeypatch: pytest.MonkeyPatch, driver: str, is_native: bool, sends: bool
) -> None:
    monkeypatch.setattr(ingress, "xdp_features", lambda _index: None)
    monkeypatch.setattr(interfaces, "driver", lambda _name: driver)
    assert ingress._cannot_transmit([1], {1} if is_native else set()) == ({} if sends else {1: "lo"})
