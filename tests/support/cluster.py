# SPDX-License-Identifier: Apache-2.0
"""Client, director and real server in namespaces, with the program on the director's interface."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tests.support.namespaces import Namespaces
from tests.support.until import DEADLINE

from pointsman.dataplane.xdp.kernel import interfaces
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace, offload
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import AddServer, AddService, Operation
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

VIP, CLIENT, RIP, PORT = "10.9.0.9", "10.9.0.2", "10.8.0.2", 80
KEY = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), PORT)
SERVER = RealServer(key=ServerKey(ipaddress.ip_address(RIP), PORT))
OPERATIONS: list[Operation] = [AddService(VirtualService(key=KEY, scheduler="rr")), AddServer(KEY, SERVER)]


class Cluster(Namespaces):
    """client -c0-d0- director -d1-s0- server -s1-c1- client: answers go past the director."""

    def __init__(self) -> None:
        super().__init__("attach", *"cds")
        self.client, self.director, self.server = self.names.values()
        self.pins = Path(f"/sys/fs/bpf/pmt-attach-{os.getpid()}")

    def up(self) -> None:
        self.make()
        self._cable(self.client, "c0", self.director, "d0")
        self._cable(self.director, "d1", self.server, "s0")
        self._cable(self.server, "s1", self.client, "c1")
        self.ip(self.client, f"address add {CLIENT}/24 dev c0")
        self.ip(self.director, f"address add {VIP}/24 dev d0", "address add 10.8.0.1/24 dev d1")
        self.ip(
            self.server,
            f"address add {RIP}/24 dev s0",
            f"address add {VIP}/32 dev lo",
            f"route add {CLIENT}/32 dev s1",
            f"neighbour add {CLIENT} lladdr {self.mac(self.client, 'c1').hex(':')} dev s1",
        )

    def _cable(self, one: str, first: str, other: str, second: str) -> None:
        self.ip(one, f"link add {first} type veth peer name {second} netns {other}", f"link set {first} up")
        self.ip(other, f"link set {second} up")
        for name, interface in ((one, first), (other, second)):
            self.sysctl(name, *(f"net.ipv4.conf.{place}.rp_filter=0" for place in ("all", interface)))

    def down(self) -> None:
        XdpDataPlane.remove(self.pins)
        self.close()

    def mac(self, name: str, interface: str) -> bytes:
        with namespace.entered(name):
            return interfaces.hardware_address(interface)

    def hop(self) -> NextHop:
        with namespace.entered(self.director):
            index = interfaces.index_of("d1")
        return NextHop(SERVER.key.address, index, self.mac(self.director, "d1"), self.mac(self.server, "s0"))

    def prepare_native(self) -> None:
        offload.complete_checksums(self.client, "c0")
        offload.accept_frames(self.client, "c0")
        offload.accept_frames(self.server, "s0")

    def open(self, mode: str = "auto") -> XdpDataPlane:
        with namespace.entered(self.director):
            return XdpDataPlane.open(self.pins, ["d0"], mode, 4096)

    def start(self, mode: str = "auto") -> XdpDataPlane:
        plane = self.open(mode)
        assert not plane.apply(OPERATIONS)
        hop = self.hop()
        with namespace.entered(self.director):
            plane.set_next_hops([hop])
        return plane


AnyCluster = TypeVar("AnyCluster", bound=Cluster)


@contextlib.contextmanager
def running_cluster(made: AnyCluster) -> Iterator[AnyCluster]:
    """Build a cluster, and remove it in any case."""
    try:
        made.up()
        yield made
    finally:
        made.down()


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the client's socket of a connection to the VIP, and the real server's."""
    with contextlib.ExitStack() as stack:
        with namespace.entered(cluster.server):
            listener = stack.enter_context(socket.create_server((VIP, PORT)))
        with namespace.entered(cluster.client):
            caller = stack.enter_context(socket.socket())
        for end in (listener, caller):
            end.settimeout(DEADLINE)
        caller.connect((VIP, PORT))
        answerer = stack.enter_context(listener.accept()[0])
        answerer.settimeout(DEADLINE)
        yield caller, answerer


def exchange(caller: socket.socket, answerer: socket.socket, text: bytes) -> None:
    caller.sendall(text)
    assert answerer.recv(100) == text
    answerer.sendall(text)
    assert caller.recv(100) == text
