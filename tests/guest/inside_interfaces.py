# SPDX-License-Identifier: Apache-2.0
"""Interfaces that not every kernel has: VLANs, VLANs in VLANs, bonds. test_kernels.py runs this in guests.

It is as good on the host: `pytest tests/guest/inside_interfaces.py`.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator
from unittest import mock

import pytest
from tests.guest.inside_vrrp import has_kind
from tests.support.cluster import (
    CLIENT,
    KEY,
    PORT,
    RIP,
    SERVER,
    VIP,
    Cluster,
    connected,
    exchange,
    running_cluster,
)
from tests.support.program_run import tcp
from tests.support.until import DEADLINE, until

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import attach, interfaces
from pointsman.dataplane.xdp.kernel.attach import hidden_vlans
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace, offload
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import AddServer, AddService
from pointsman.model.service import ServiceKey, VirtualService

pytestmark = pytest.mark.root

HAS_TCX = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 6)
FALLBACK = "tc" if HAS_TCX else "generic"
CHUNK = 16 * 1024


needs_vlan = pytest.mark.skipif(not has_kind("vlan"), reason="this kernel has no VLANs")
needs_bond = pytest.mark.skipif(not has_kind("bond"), reason="this kernel has no bonds")


class Stacked(Cluster):
    """The cluster with two cables on either side of the director, to build other interfaces on."""

    def up(self) -> None:
        super().up()
        self.way_in, self.way_out, self.far_end = "d0", "d1", "s0"
        self._cable(self.client, "c0b", self.director, "d0b")
        self._cable(self.director, "d1b", self.server, "s0b")

    def build(self, kind: str) -> None:
        """Replace the plain interfaces in use by `in0` and `out0` at the director and `x0` at the others."""
        self.stack(self.client, "c0", "x0", kind, f"{CLIENT}/24")
        self.stack(self.director, "d0", "in0", kind, f"{VIP}/24")
        self.build_way_out(kind)
        self.way_in = "in0"

    def build_way_out(self, kind: str) -> None:
        self.stack(self.director, "d1", "out0", kind, "10.8.0.1/24")
        self.stack(self.server, "s0", "x0", kind, f"{RIP}/24")
        self.way_out, self.far_end = "out0", "x0"

    def stack(self, name: str, lower: str, upper: str, kind: str, address: str) -> None:
        made = self._lines(name == self.director, lower, upper, kind)
        self.ip(name, f"address del {address} dev {lower}", *made, f"link set {upper} up")
        self.sysctl(name, f"net.ipv4.conf.{upper}.rp_filter=0")
        self.ip(name, f"address add {address} dev {upper}")

    def _lines(self, director: bool, lower: str, upper: str, kind: str) -> list[str]:
        """Return ip(8)'s lines for the interface above."""
        if kind == "vlan":
            return [f"link add {upper} link {lower} type vlan id 100"]
        if kind == "qinq":
            return [
                f"link add {lower}.t link {lower} type vlan protocol 802.1ad id 7",
                f"link set {lower}.t up",
                f"link add {upper} link {lower}.t type vlan id 100",
            ]
        lines = [f"link add {upper} type {f'bond mode {kind} miimon 50' if director else 'bridge'}"]
        for each in (lower, f"{lower}b"):
            lines += [f"link set {each} down", f"link set {each} master {upper}", f"link set {each} up"]
        return lines

    def prepare_native(self) -> None:
        for end in ("c0", "c0b"):
            offload.accept_frames(self.client, end)
        for end in ("s0", "s0b"):
            offload.accept_frames(self.server, end)

    def hop(self) -> NextHop:
        with namespace.entered(self.director):
            index = interfaces.index_of(self.way_out)
        source, destination = self.mac(self.director, self.way_out), self.mac(self.server, self.far_end)
        return NextHop(SERVER.key.address, index, source, destination)

    def open(self, mode: str = "auto") -> XdpDataPlane:
        with namespace.entered(self.director):
            return XdpDataPlane.open(self.pins, [self.way_in], mode, 4096)

    def carries(self, interface: str) -> None:
        """A connection from this interface of the client, of segments that no offload has joined."""
        self.run(self.client, f"ip link set {interface} gso_max_segs 1")
        offload.complete_checksums(self.client, interface)
        with connected(self) as (caller, answerer):
            for end in (caller, answerer):
                end.settimeout(DEADLINE)
            exchange(caller, answerer, b"small")
            for _ in range(4):
                caller.sendall(bytes(CHUNK))
                received = 0
                while received < CHUNK:
                    received += len(answerer.recv(CHUNK))

    def send_frame(self, target: bytes) -> None:
        """The first packet of a connection, to this MAC address, by the first of the director's cables."""
        frame = tcp("S", CLIENT, 1000, PORT, target=VIP)
        with namespace.entered(self.client), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("c0", 0))
            sender.send(target + frame[6:])


@pytest.fixture
def stacked() -> Iterator[Stacked]:
    with running_cluster(Stacked()) as made:
        yield made


def attached(plane: XdpDataPlane) -> dict[str, str]:
    return {item.interface: item.mode for item in plane.capabilities().attachments}


@needs_vlan
@pytest.mark.parametrize(("kind", "mode"), [("vlan", "auto"), ("qinq", "generic")])
def test_a_vlan(stacked: Stacked, kind: str, mode: str) -> None:
    """The program on the VLAN's interface sees frames without tags; what it sends gets them."""
    stacked.build(kind)
    if mode == "auto":
        with pytest.raises(DataPlaneError, match="not native: its driver has no XDP"):
            stacked.open("native")
    plane = stacked.start(mode)
    assert attached(plane) == {"in0": FALLBACK if mode == "auto" else mode}
    stacked.carries("x0")
    assert plane.counters().of(KEY).traffic.octets > 4 * CHUNK
    with namespace.entered(stacked.director):
        assert plane.follow_interfaces() == []
    plane.close(keep_forwarding=False)


@needs_bond
@pytest.mark.parametrize(
    ("kind", "mode"), [("active-backup", "auto"), ("active-backup", "native"), ("balance-rr", "native")]
)
def test_a_bond(stacked: Stacked, kind: str, mode: str) -> None:
    """Native XDP on a bond is on its slaves, and a frame has come in by one of them."""
    stacked.build(kind)
    if mode == "native":
        stacked.prepare_native()
    plane = stacked.start(mode)
    assert attached(plane) == {"in0": FALLBACK if mode == "auto" else mode}
    stacked.carries("x0")
    assert plane.counters().of(KEY).traffic.octets > 4 * CHUNK
    virtual = bytes.fromhex("00005e000133")
    with namespace.entered(stacked.director):
        plane.set_virtual_macs({("in0", virtual)})
    stacked.send_frame(bytes.fromhex("02000000aaaa"))
    until("the frame for another host is counted", lambda: plane.counters().exits.get("other_host") == 1)
    stacked.send_frame(virtual)
    until("both connections are counted", lambda: plane.counters().of(KEY).traffic.connections == 2)
    plane.close(keep_forwarding=False)


@needs_vlan
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_vlans_whose_tags_xdp_does_not_see_are_told_of(stacked: Stacked, mode: str) -> None:
    """The program is on the interface below. In mode auto tc is taken, and the VLAN has its packets."""
    stacked.stack(stacked.client, "c0", "x0", "vlan", f"{CLIENT}/24")
    stacked.stack(stacked.director, "d0", "in0", "vlan", f"{VIP}/24")
    if mode == "native":
        stacked.prepare_native()
    plane = stacked.start(mode)
    with namespace.entered(stacked.director):
        assert plane.follow_interfaces() == [f"d0 has {mode} XDP, and {hidden_vlans('d0')}: use mode tc"]
    assert "takes the tags out of the frames of its VLANs (in0) before XDP" in hidden(stacked)
    plane.close(keep_forwarding=False)
    if HAS_TCX:
        with mock.patch.object(attach, "is_veth", lambda _: False):
            plane = stacked.start("auto")
        assert attached(plane) == {"d0": "tc"}
        assert plane.capabilities().attachments[0].reason == f"not native: {hidden(stacked)}"
        with pytest.raises(ConnectionRefusedError):
            stacked.carries("x0")
        with namespace.entered(stacked.director):
            assert plane.follow_interfaces() == []
        plane.close(keep_forwarding=False)


def hidden(cluster: Stacked) -> str:
    with namespace.entered(cluster.director):
        return hidden_vlans("d0")


@needs_vlan
def test_a_way_out_that_cannot_send_what_native_xdp_redirects(stacked: Stacked) -> None:
    """It is told of; in mode auto native XDP gives way, and the connection is carried."""
    stacked.build_way_out("vlan")
    stacked.prepare_native()
    plane = stacked.start("native")
    with namespace.entered(stacked.director):
        told = plane.follow_interfaces()
    lost = "out0 cannot send what it redirects: packets for the real servers there are lost"
    assert told == [f"d0 has native XDP, and {lost}: use mode tc"]
    plane.close(keep_forwarding=True)
    plane, hop = stacked.open("auto"), stacked.hop()
    assert attached(plane) == {"d0": "native"}, "adopted"
    with namespace.entered(stacked.director):
        plane.set_next_hops([hop])
        assert plane.follow_interfaces() == []
    assert attached(plane) == {"d0": FALLBACK}
    assert [pin.name.partition("-")[2] for pin in (stacked.pins / "links").iterdir()] == [FALLBACK]
    assert plane.capabilities().attachments[0].reason.startswith(f"not native: {lost}")
    stacked.carries("c0")
    plane.close(keep_forwarding=False)


@needs_vlan
def test_a_program_above_is_named_when_it_is_in_the_way(stacked: Stacked) -> None:
    """The kernel wants the lower interface to have its XDP program first."""
    stacked.build("vlan")
    for names in (["in0", "d0"], ["d0", "in0"]):
        with namespace.entered(stacked.director):
            if names[0] == "in0":
                with pytest.raises(
                    DataPlaneError, match=r"not generic: an interface that stands on it \(VLAN"
                ):
                    XdpDataPlane.open(stacked.pins, names, "generic", 4096)
                assert not stacked.pins.exists()
            else:
                plane = XdpDataPlane.open(stacked.pins, names, "generic", 4096)
                assert attached(plane) == {"d0": "generic", "in0": "generic"}
                plane.close(keep_forwarding=False)


@needs_vlan
def test_a_mark_that_a_filter_of_the_interface_below_has_set(stacked: Stacked) -> None:
    """The program on the VLAN comes after the filters of the interface below."""
    stacked.build("vlan")
    if not HAS_TCX:
        with pytest.raises(DataPlaneError, match="not tc: tcx needs"):
            stacked.open("tc")
        return
    stacked.run(stacked.director, "tc qdisc add dev d0 clsact")
    stacked.run(stacked.director, "tc filter add dev d0 ingress matchall action skbedit mark 7")
    plane, hop, marked = stacked.open("tc"), stacked.hop(), ServiceKey.mark(7)
    assert not plane.apply(
        [AddService(VirtualService(key=marked, scheduler="rr")), AddServer(marked, SERVER)]
    )
    with namespace.entered(stacked.director):
        plane.set_next_hops([hop])
    stacked.carries("x0")
    assert plane.counters().of(marked).traffic.octets > 4 * CHUNK
    assert [str(item.virtual) for item in plane.connections()] == [VIP]
    plane.close(keep_forwarding=False)
