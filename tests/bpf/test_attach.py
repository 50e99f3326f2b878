# SPDX-License-Identifier: Apache-2.0
"""The program on real interfaces: attached in every mode, carrying whole streams, outliving its director."""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.cluster import KEY, OPERATIONS, VIP, Cluster, connected, exchange, running_cluster
from tests.support.tcp_info import retransmitted
from tests.support.until import until

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import interfaces
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace
from pointsman.model.operations import DeleteService

pytestmark = pytest.mark.root

UPLOAD = 8 * 1024 * 1024


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster(Cluster()) as made:
        yield made


def upload(caller: socket.socket, answerer: socket.socket) -> int:
    def send() -> None:
        with contextlib.suppress(OSError):  # then too little arrives
            caller.sendall(bytes(UPLOAD))
            caller.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    received = 0
    while chunk := answerer.recv(1 << 20):
        received += len(chunk)
    sender.join()
    return received


@pytest.mark.parametrize("mode", ["auto", "native", "tc"])
def test_a_large_upload_passes(cluster: Cluster, mode: str) -> None:
    """Segments that the sender's or receiver's offload has joined are longer than the MTU."""
    if mode == "native":
        cluster.prepare_native()
    plane = cluster.start(mode)
    attached = plane.capabilities().attachments
    assert [item.interface for item in attached] == ["d0"]
    if mode != "auto":
        assert attached[0].mode == mode
    with connected(cluster) as (caller, answerer):
        assert upload(caller, answerer) == UPLOAD
        # Where long segments are lost, every byte is sent again, an MTU at a time.
        assert retransmitted(caller) < UPLOAD / 1500 / 4
    counted = plane.counters().of(KEY)
    assert counted.traffic.connections == 1
    assert counted.traffic.octets > UPLOAD
    plane.close(keep_forwarding=False)
    assert not cluster.pins.exists()
    assert "xdp" not in cluster.run(cluster.director, "ip link show d0")


def test_generic_xdp_carries_segments_of_the_mtu_and_reports_longer_ones(cluster: Cluster) -> None:
    """It cannot redirect segments that offload has joined: why auto takes tc before it."""

    def problems() -> list[str]:
        with namespace.entered(cluster.director):
            return plane.follow_interfaces()

    plane = cluster.start("generic")
    hop = msgspec.structs.replace(cluster.hop(), mtu=1500)
    with namespace.entered(cluster.director):
        plane.set_next_hops([hop])
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"small")
        assert problems() == []
        caller.sendall(bytes(20_000))
        until("a segment is too long", lambda: "too_big" in plane.exits())
        (sent,) = problems()
    lost = "are too long to leave by d1, and uploads hang: use mode tc"
    head = "d0 has generic XDP: segments that"
    assert (
        sent == f"{head} the other end of the veth pair joins {lost} or switch tso off there (`ethtool -K`)"
    )
    cluster.run(cluster.director, "ethtool -K d0 gro on")
    assert problems() == [f"{head} GRO joins {lost}; fix: ethtool -K d0 gro off"]
    with namespace.entered(cluster.director):
        plane.set_next_hops([msgspec.structs.replace(hop, index=interfaces.index_of("d0"))])
    assert problems() == [], "by the interface on which they came they leave"
    plane.close(keep_forwarding=False)


HOLDER = """
import sys, time
from pathlib import Path
from pointsman.dataplane.xdp.kernel import interfaces
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace
with namespace.entered(sys.argv[1]):
    plane = XdpDataPlane.open(Path(sys.argv[2]), ["d0"], "auto", 4096)
print("open", flush=True)
time.sleep(600)
"""


def test_a_connection_survives_the_death_and_return_of_its_director(cluster: Cluster) -> None:
    cluster.start().close(keep_forwarding=True)
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, cluster.director, str(cluster.pins)],
            stdout=subprocess.PIPE,
            text=True,
        ) as holder,
        contextlib.ExitStack() as cleanup,
    ):
        cleanup.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with connected(cluster) as (caller, answerer):
            exchange(caller, answerer, b"director lives")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            exchange(caller, answerer, b"director is dead")
            plane = cluster.open()
            assert plane.capabilities().attachments[0].reason == "adopted"
            assert [entry.service.key for entry in plane.read()] == [KEY]
            assert [item.state for item in plane.connections()] == ["ESTABLISHED"]
            exchange(caller, answerer, b"director is back")
            assert plane.counters().of(KEY).servers[0].active == 1
            plane.close(keep_forwarding=True)
    listed = XdpDataPlane.open_readonly(cluster.pins)
    assert listed.read().get(KEY) is not None
    assert [item.reason for item in listed.capabilities().attachments] == ["adopted"]
    listed.close(keep_forwarding=True)


def test_the_clock_runs_and_sweeps_without_a_director(cluster: Cluster) -> None:
    plane = cluster.start()
    plane.tables.control.timeout[1] = 1
    plane.close(keep_forwarding=True)
    with namespace.entered(cluster.client), socket.socket(socket.AF_INET, socket.SOCK_RAW, 6) as raw:
        segment = bytes.fromhex("03e8 0050 00000001 00000000 5002 ffff 0000 0000")
        raw.sendto(segment, (VIP, 0))
    listed = XdpDataPlane.open_readonly(cluster.pins)
    until("the connection is counted", lambda: listed.counters().of(KEY).traffic.connections == 1)
    until("the connection is forgotten", lambda: not list(listed.connections()))
    assert listed.counters().of(KEY).servers[0].active == 0
    listed.close(keep_forwarding=True)


def test_another_mode_replaces_the_program(cluster: Cluster) -> None:
    cluster.start("generic").close(keep_forwarding=True)
    plane = cluster.open("tc")
    assert [item.mode for item in plane.capabilities().attachments] == ["tc"]
    assert "direct_xdp" not in plane.programs, "nobody has asked for it"
    with connected(cluster) as (caller, answerer):
        exchange(caller, answerer, b"by tc")
    plane.close(keep_forwarding=False)


def test_an_interface_that_went_away_is_forgotten(cluster: Cluster) -> None:
    with namespace.entered(cluster.director):
        XdpDataPlane.open(cluster.pins, ["d0", "d1"], "auto", 4096).close(keep_forwarding=True)
    cluster.run(cluster.director, "ip link delete d1")
    plane = cluster.open()
    assert [item.interface for item in plane.capabilities().attachments] == ["d0"]
    assert len(list((cluster.pins / "links").iterdir())) == 1
    plane.close(keep_forwarding=False)


def test_a_director_killed_while_pinning_leaves_nothing_half_done(cluster: Cluster) -> None:
    cluster.start().close(keep_forwarding=True)
    present = next(path for path in cluster.pins.iterdir() if path.name.startswith("abi-"))
    present.rename(cluster.pins / present.name.replace("abi-", "new-"))
    plane = cluster.open()
    assert not plane.apply(OPERATIONS)
    assert not plane.apply([DeleteService(KEY)])
    plane.close(keep_forwarding=False)


def test_a_map_whose_pin_was_removed_is_made_and_pinned_anew(cluster: Cluster) -> None:
    cluster.start().close(keep_forwarding=True)
    present = next(path for path in cluster.pins.iterdir() if path.name.startswith("abi-"))
    names = {path.name for path in present.iterdir()}
    for gone in ("pm_tx_devices", "pm_ctl"):
        (present / gone).unlink()
    plane = cluster.open()
    assert {path.name for path in present.iterdir()} == names
    assert plane.timeouts() == (900, 120, 300)
    assert [entry.service.key for entry in plane.read()] == [KEY]
    plane.close(keep_forwarding=False)


def test_mistakes_are_explained(cluster: Cluster) -> None:
    with namespace.entered(cluster.director):
        with pytest.raises(DataPlaneError, match="interface nope does not exist") as caught:
            XdpDataPlane.open(cluster.pins, ["nope"])
        assert caught.value.errno == errno.ENODEV
        with pytest.raises(DataPlaneError, match="unknown XDP mode fast"):
            XdpDataPlane.open(cluster.pins, ["d0"], "fast")
        with pytest.raises(DataPlaneError, match="not on a bpf file system"):
            XdpDataPlane.open(Path("/tmp/pmt-nowhere"), ["d0"])
    shutil.rmtree(cluster.pins)
    with pytest.raises(DataPlaneError, match="nothing pinned"):
        XdpDataPlane.open_readonly(cluster.pins)
