# SPDX-License-Identifier: Apache-2.0
"""Tunnels to real servers that decapsulate as Linux does, and beside the kernel's IPVS; see test_kernels.py.

This machine's own kernel may have neither tunnels nor IPVS.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import platform
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.program_run import checksum, ipv4, ipv6
from tests.support.tunnel_place import (
    CLIENT,
    CLIENT6,
    FAR,
    FAR6,
    GUE_PORT,
    NEAR,
    TUNNEL_MODULES,
    VIP,
    VIP6,
    TunnelNetwork,
)
from tests.support.until import DEADLINE

from pointsman.cli.ipvsadm import SystemNames
from pointsman.dataplane.xdp.kernel import interfaces
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace, offload
from pointsman.lvs.ipvsadm.arguments import parse
from pointsman.lvs.ipvsadm.commands import Apply
from pointsman.net.neighbours import NeighbourWatcher

pytestmark = pytest.mark.root

TCX = (6, 6)
RELEASE = tuple(int(part) for part in platform.release().split(".")[:2])
PORT = 80
GUE = f"--tun-type gue --tun-port {GUE_PORT}"
KINDS = {
    "ipip": "",
    "gue": GUE,
    "gue csum": f"{GUE} --tun-csum",
    "gue remcsum": f"{GUE} --tun-remcsum",
    "gre": "--tun-type gre",
    "gre csum": "--tun-type gre --tun-csum",
}
FAMILIES = list(itertools.product((4, 6), (4, 6)))
"""Families of the packet and of its tunnel."""
CHUNK, CHUNKS = 16 * 1024, 8


def lacking() -> str:
    """Return the feature that this kernel lacks; empty: none."""
    if not Path("/run/modprobe").exists():
        return "for a guest, whose kernel has every kind of tunnel"
    for module in (*TUNNEL_MODULES, "ip_vs", "ip_vs_rr"):
        if subprocess.run(["/run/modprobe", module], capture_output=True).returncode:
            return f"this kernel has no {module}"
    return ""


@pytest.fixture(scope="module")
def place() -> Iterator[TunnelNetwork]:
    if why := lacking():
        pytest.skip(why)
    made = TunnelNetwork()
    try:
        made.up()
        made.decapsulate()
        yield made
    finally:
        made.down()


class Running:
    """The data plane on d0, which follows its next hops as the director does."""

    def __init__(self, place: TunnelNetwork, mode: str) -> None:
        self._place = place
        with namespace.entered(place.director):
            self.plane = XdpDataPlane.open(place.pins, ["d0"], mode, 4096)
            self.watcher = NeighbourWatcher()

    def ipvsadm(self, line: str) -> None:
        command = parse(line.split(), SystemNames())
        assert isinstance(command, Apply)
        assert not self.plane.apply([command.operation])

    def resolve(self, direct: list[str], tunnelled: list[str]) -> None:
        """Follow these until the MAC addresses are known."""
        near, far = (
            [ipaddress.ip_address(address) for address in addresses] for addresses in (direct, tunnelled)
        )
        with namespace.entered(self._place.director):
            hops = {hop.address: hop for hop in self.watcher.watch(near, far)}
            deadline = time.monotonic() + DEADLINE
            while not all(hop.destination for hop in hops.values()):
                assert time.monotonic() < deadline, hops
                hops |= {hop.address: hop for hop in self.watcher.refresh(time.monotonic())}
                time.sleep(0.05)
            self.plane.set_next_hops(hops.values())
        assert not self.watcher.problems()

    def close(self) -> None:
        self.watcher.close()
        self.plane.close(keep_forwarding=False)


@contextlib.contextmanager
def running(place: TunnelNetwork, mode: str) -> Iterator[Running]:
    made = Running(place, mode)
    try:
        yield made
    finally:
        made.close()


def served(version: int) -> tuple[str, str]:
    """ipvsadm's option for the service, and its address."""
    return (f"-t {VIP}:{PORT}", VIP) if version == 4 else (f"-t [{VIP6}]:{PORT}", VIP6)


def far(version: int) -> str:
    return f"{FAR}:{PORT}" if version == 4 else f"[{FAR6}]:{PORT}"


def exchange(place: TunnelNetwork, address: str, servers: list[str]) -> None:
    """A connection for each server in turn; each echoes what it gets, an upload too."""
    with contextlib.ExitStack() as stack:
        listeners = []
        for name in servers:
            with namespace.entered(name):
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                listeners.append(stack.enter_context(socket.create_server((address, PORT), family=family)))
        met = []
        for _ in servers:
            with namespace.entered(place.client):
                caller = stack.enter_context(socket.socket(family))
            caller.settimeout(DEADLINE)
            caller.connect((address, PORT))
            ready, _, _ = select.select(listeners, [], [], 60)
            met.append(listeners.index(ready[0]))
            answerer = stack.enter_context(ready[0].accept()[0])
            answerer.settimeout(DEADLINE)
            whole = bytes(range(256)) * (CHUNK * CHUNKS // 256)
            sender = threading.Thread(target=caller.sendall, args=(whole,), daemon=True)
            sender.start()
            received = bytearray()
            while len(received) < len(whole):
                part = answerer.recv(CHUNK)
                assert part
                received += part
            sender.join()
            assert bytes(received) == whole
            answerer.sendall(b"got it")
            assert caller.recv(100) == b"got it"
        assert sorted(met) == list(range(len(servers)))


MODES = ["generic", *(["tc"] if RELEASE >= TCX else [])]


@pytest.mark.parametrize("mode", MODES)
def test_linux_takes_out_what_was_put_in(place: TunnelNetwork, mode: str) -> None:
    """Every kind of tunnel, every pair of families: a connection, an upload that finds the tunnel's MTU."""
    place.run(place.client, f"ip link set c0 gso_max_segs {65535 if mode == 'tc' else 1}")
    carry_all(place, mode)


def carry_all(place: TunnelNetwork, mode: str) -> None:
    with running(place, mode) as director:
        director.resolve([], [FAR, FAR6])
        for kind, (inner, outer) in itertools.product(KINDS, FAMILIES):
            if kind == "gre csum" and mode == "tc":
                continue  # of joined segments it cannot be had
            option, address = served(inner)
            place.insist_on_checksums(kind == "gre csum")
            director.ipvsadm(f"-A {option} -s rr")
            director.ipvsadm(f"-a {option} -r {far(outer)} -i {KINDS[kind]}")
            try:
                exchange(place, address, [place.far])
            except (OSError, AssertionError) as error:
                raise AssertionError(
                    f"{kind}, IPv{inner} in IPv{outer}: {director.plane.counters()}"
                ) from error
            director.ipvsadm(f"-D {option}")
            forget_path_mtu(place)


def test_joined_segments_have_no_sum_for_gre(place: TunnelNetwork) -> None:
    """Linux takes GRE with a checksum everywhere or nowhere, so that they are dropped, and counted."""
    if RELEASE < TCX:
        return  # no tc there: inside.py sees that it is refused
    place.run(place.client, "ip link set c0 gso_max_segs 65535")
    option, address = served(4)
    with running(place, "tc") as director, contextlib.ExitStack() as stack:
        director.resolve([], [FAR])
        place.insist_on_checksums(True)
        director.ipvsadm(f"-A {option} -s rr")
        director.ipvsadm(f"-a {option} -r {far(4)} -i {KINDS['gre csum']}")
        with namespace.entered(place.far):
            listener = stack.enter_context(socket.create_server((address, PORT)))
        with namespace.entered(place.client):
            caller = stack.enter_context(socket.socket())
        caller.settimeout(DEADLINE)
        caller.connect((address, PORT))
        listener.settimeout(DEADLINE)
        answerer = stack.enter_context(listener.accept()[0])
        answerer.settimeout(DEADLINE)
        caller.sendall(b"short")
        assert answerer.recv(100) == b"short"
        caller.sendall(bytes(CHUNK // 2))
        deadline = time.monotonic() + DEADLINE
        while not director.plane.counters().exits.get("not_tunnelled"):
            assert time.monotonic() < deadline, director.plane.counters()
            time.sleep(0.05)
    forget_path_mtu(place)


def forget_path_mtu(place: TunnelNetwork) -> None:
    for family in ("-4", "-6"):
        place.run(place.client, f"ip {family} route flush cache")


def test_a_tunnel_and_direct_routing_in_one_service(place: TunnelNetwork) -> None:
    place.run(place.client, "ip link set c0 gso_max_segs 1")
    place.insist_on_checksums(False)
    with running(place, "generic") as director:
        director.resolve([NEAR], [FAR])
        option, address = served(4)
        director.ipvsadm(f"-A {option} -s rr")
        director.ipvsadm(f"-a {option} -r {far(4)} -i")
        director.ipvsadm(f"-a {option} -r {NEAR}:{PORT} -g")
        exchange(place, address, [place.far, place.near])
    forget_path_mtu(place)


# Beside IPVS


PORTS = itertools.count(5000)
"""IPVS remembers connections longer than a test takes: each packet has a port of its own."""


class Case(NamedTuple):
    name: str
    frame: bytes


def udp(client: str, vip: str, port: int, size: int, check: bool) -> bytes:
    """A datagram for the service; without `check` it has no checksum."""
    body = struct.pack("!HHHH", port, PORT, 8 + size, 0) + bytes(n & 255 for n in range(size))
    if not check:
        return body
    source, target = (ipaddress.ip_address(each).packed for each in (client, vip))
    pseudo = source + target + struct.pack("!IHBB", len(body), 0, 0, 17)
    found = checksum(pseudo + body + b"\0" * (len(body) % 2)) or 0xFFFF
    return body[:6] + struct.pack("!H", found) + body[8:]


def frames(place: TunnelNetwork, version: int) -> list[Case]:
    """Packets of every type of service, TTL, fragmentation and length that the outer header can tell."""
    with namespace.entered(place.client):
        own = interfaces.hardware_address("c0")
    with namespace.entered(place.director):
        other = interfaces.hardware_address("d0")
    client, vip = (CLIENT, VIP) if version == 4 else (CLIENT6, VIP6)
    found = []
    for number, (tos, ttl, fragment, size) in enumerate(
        [(0, 64, 0x4000, 20), (0, 64, 0, 21), (0xB8, 5, 0x4000, 64), (3, 200, 0x4000, 9), (1, 2, 0, 700)]
    ):
        # IPv6's datagrams always have a checksum.
        body = udp(client, vip, next(PORTS), size, check=version == 6 or number != 3)
        if version == 4:
            packet = ipv4(client, vip, 17, body, ttl=ttl, fragment=fragment)
            header = packet[:1] + bytes((tos,)) + packet[2:10] + b"\0\0" + packet[12:20]
            packet = header[:10] + struct.pack("!H", checksum(header)) + header[12:] + packet[20:]
        else:
            packet = ipv6(client, vip, 17, body, hops=ttl)
            packet = struct.pack("!I", 6 << 28 | tos << 20) + packet[4:]
        kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
        found.append(
            Case(f"tos {tos} ttl {ttl} fragment {fragment:#x} size {size}", other + own + kind + packet)
        )
    return found


def passed(place: TunnelNetwork, cases: list[Case], hears: tuple[str, str]) -> list[bytes]:
    """Return the frame at this interface for each frame of the client."""
    results = []
    with contextlib.ExitStack() as stack:
        with namespace.entered(place.client):
            out = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            out.bind(("c0", 0))
        with namespace.entered(hears[0]):
            heard = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
            heard.bind((hears[1], 0))
        for case in cases:
            while select.select([heard], [], [], 0)[0]:
                heard.recv(4096)
            out.send(case.frame)
            results.append(_next(heard, case))
    return results


def _next(heard: socket.socket, case: Case) -> bytes:
    """The next frame that comes in and is no business of the neighbours'."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert select.select([heard], [], [], max(0.0, deadline - time.monotonic()))[0], case.name
        frame, address = heard.recvfrom(4096)
        outgoing = address[2] == socket.PACKET_OUTGOING
        neighbours = frame[12:14] == b"\x08\x06" or (frame[12:14] == b"\x86\xdd" and frame[20] in (0, 58))
        if not outgoing and not (neighbours and frame[54:55] in b"\x85\x86\x87\x88\x8f\x3a"):
            return frame


def comparable(frame: bytes, kind: str) -> bytes:
    """The frame without what differs on purpose: GUE's source port, the number of what may be taken apart."""
    data = bytearray(frame)
    four = frame[12:14] == b"\x08\x00"
    start = 14 + (20 if four else 40)
    if four and not frame[20] & 0x40:
        data[18:20] = data[24:26] = b"\0\0"
    if kind.startswith("gue"):
        assert 32768 <= int.from_bytes(frame[start : start + 2]) <= 60999
        if frame[start + 6 : start + 8] != b"\0\0":
            protected = frame[26:34] if four else frame[22:54]
            body = frame[start:]
            pseudo = protected + struct.pack("!IHBB", len(body), 0, 0, 17)
            assert checksum(pseudo + body + b"\0" * (len(body) % 2)) == 0
            data[start + 6 : start + 8] = b"\xff\xff"
        data[start : start + 2] = b"\0\0"
    return bytes(data)


class Job(NamedTuple):
    """A service, and frames for it."""

    kind: str
    inner: int
    outer: int
    cases: list[Case]

    @property
    def lines(self) -> list[str]:
        service = served(self.inner)[0].replace("-t", "-u")
        return [f"-A {service} -s rr", f"-a {service} -r {far(self.outer)} -i {KINDS[self.kind]}"]


def both(
    place: TunnelNetwork, jobs: list[Job], hears: tuple[str, str]
) -> Iterator[tuple[Job, Case, bytes, bytes]]:
    """Yield each job with the frames of IPVS and of Pointsman."""
    theirs, ours = [], []
    for job in jobs:
        for line in job.lines:
            place.run(place.director, f"ipvsadm {line}")
        theirs.append(passed(place, job.cases, hears))
        place.run(place.director, "ipvsadm -C")
    with running(place, "generic") as director:
        director.resolve([], [FAR, FAR6])
        for job in jobs:
            for line in job.lines:
                director.ipvsadm(line)
            ours.append(passed(place, job.cases, hears))
            director.ipvsadm("-C")
    for job, expected, found in zip(jobs, theirs, ours, strict=True):
        for triple in zip(job.cases, expected, found, strict=True):
            yield job, *triple


def test_the_outer_headers_are_those_of_ipvs(place: TunnelNetwork) -> None:
    """Byte by byte, at the router, of the same frames."""
    jobs = [
        Job(kind, inner, outer, frames(place, inner))
        for kind, (inner, outer) in itertools.product(KINDS, FAMILIES)
    ]
    for job, case, expected, found in both(place, jobs, (place.router, "g0")):
        assert comparable(found, job.kind).hex() == comparable(expected, job.kind).hex(), (job[:3], case.name)


def test_the_largest_packet_is_ipvss(place: TunnelNetwork) -> None:
    """The MTU in the answer to one that is too big."""
    jobs = []
    for kind, (inner, outer) in itertools.product(KINDS, FAMILIES):
        client, vip = (CLIENT, VIP) if inner == 4 else (CLIENT6, VIP6)
        body = udp(client, vip, next(PORTS), 1500 - (28 if inner == 4 else 48), check=True)
        packet = ipv4(client, vip, 17, body) if inner == 4 else ipv6(client, vip, 17, body)
        jobs.append(Job(kind, inner, outer, [Case("too big", frames(place, inner)[0].frame[:14] + packet)]))
    for job, _, theirs, ours in both(place, jobs, (place.client, "c0")):
        at, length = (34, 2) if job.inner == 4 else (54, 4)
        assert ours[at : at + 2] == theirs[at : at + 2] == (b"\x03\x04" if job.inner == 4 else b"\x02\x00")
        assert ours[at + 8 - length : at + 8] == theirs[at + 8 - length : at + 8], job[:3]


def test_in_native_xdp(place: TunnelNetwork) -> None:
    """The last one: what veth needs for it takes joined segments from the client for good."""
    offload.complete_checksums(place.client, "c0")
    for name, interface in ((place.client, "c0"), (place.router, "g0")):
        offload.accept_frames(name, interface)
    carry_all(place, "native")
