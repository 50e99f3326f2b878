# SPDX-License-Identifier: Apache-2.0
"""A real server whose MAC address changes while clients send: a new machine takes its address over."""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.until import DEADLINE
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace
from pointsman.model.operations import AddServer, AddService
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.net.neighbours import NeighbourWatcher
from pointsman.packets.arp import gratuitous_arp

pytestmark = pytest.mark.root

RIP, VIP = ipaddress.IPv4Address("10.9.0.20"), ipaddress.IPv4Address("10.9.0.9")
PORT = 5000
KEY = ServiceKey.of(Transport.UDP, VIP, PORT)
PAUSE = 0.001
"""Seconds between datagrams."""


class Segment:
    """A client, a director with a data plane, and two machines that hold the VIP; each tells what it gets."""

    def __init__(self, made: Switch) -> None:
        self.client = made.host("client", "10.9.0.2/24")
        self.director = made.host("director", "10.9.0.1/24")
        self.old, self.new = made.host("old", "10.9.0.30/24"), made.host("new", "10.9.0.31/24")
        self.pins = Path(f"/sys/fs/bpf/{self.director.namespace}")
        self.director.ip("addr", "add", f"{VIP}/32", "dev", "eth0")
        self.sockets = {host.name: self._listen(host) for host in (self.old, self.new)}
        self.old.ip("addr", "add", f"{RIP}/24", "dev", "eth0")
        with namespace.entered(self.director.namespace):
            self.plane = XdpDataPlane.open(self.pins, ["eth0"], "tc", 1024)
            self.watcher = NeighbourWatcher()
        assert not self.plane.apply(
            [AddService(VirtualService(key=KEY)), AddServer(KEY, RealServer(key=ServerKey(RIP, PORT)))]
        )
        self.plane.set_next_hops(self.watcher.watch([RIP]))
        with namespace.entered(self.client.namespace):
            self.caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.caller.connect((str(VIP), PORT))
        self.sent = 0
        self.heard: dict[str, list[int]] = {name: [] for name in self.sockets}

    def _listen(self, host: Host) -> socket.socket:
        host.ip("addr", "add", f"{VIP}/32", "dev", "lo")
        with namespace.entered(host.namespace):
            for name, value in (("arp_ignore", 1), ("arp_announce", 2)):
                Path(f"/proc/sys/net/ipv4/conf/all/{name}").write_text(str(value))
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((str(VIP), PORT))
        listener.setblocking(False)
        return listener

    def follow(self) -> None:
        """Update next hops as the director does: on notifications of the kernel, and periodically."""
        with namespace.entered(self.director.namespace):
            self.plane.set_next_hops(self.watcher.refresh(time.monotonic()))

    def send_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, self.heard
            self.caller.send(self.sent.to_bytes(4, "big"))
            self.sent += 1
            select.select([self.watcher], [], [], PAUSE)
            self.follow()
            self.hear()

    def hear(self) -> None:
        for name, listener in self.sockets.items():
            while select.select([listener], [], [], 0)[0]:
                self.heard[name].append(int.from_bytes(listener.recv(16), "big"))

    def announce(self) -> None:
        with (
            namespace.entered(self.new.namespace),
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw,
        ):
            raw.bind(("eth0", 0))
            raw.send(gratuitous_arp(self.new.mac(), RIP.packed))

    def close(self) -> None:
        for each in (self.caller, *self.sockets.values()):
            each.close()
        self.watcher.close()
        self.plane.close(keep_forwarding=False)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    with switch(tmp_path) as made:
        standing = Segment(made)
        try:
            yield standing
        finally:
            standing.close()


def test_no_packet_is_lost_when_a_real_server_gets_another_mac_address(segment: Segment) -> None:
    segment.send_until(lambda: len(segment.heard["old"]) >= 300)
    first = segment.heard["old"][0]  # those before it came before the real server was known
    segment.old.ip("addr", "del", f"{RIP}/24", "dev", "eth0")
    segment.new.ip("addr", "add", f"{RIP}/24", "dev", "eth0")
    announced = 0.0

    def moved() -> bool:
        nonlocal announced
        if not segment.heard["new"] and time.monotonic() > announced + 0.2:
            segment.announce()
            announced = time.monotonic()
        return len(segment.heard["new"]) >= 300

    segment.send_until(moved)
    end = time.monotonic() + DEADLINE
    while sum(map(len, segment.heard.values())) < segment.sent - first and time.monotonic() < end:
        segment.hear()
    heard = segment.heard["old"] + segment.heard["new"]
    assert heard == list(range(first, segment.sent)), (
        "each once, in order, first to the one, then to the other"
    )
