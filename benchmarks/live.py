# SPDX-License-Identifier: Apache-2.0
"""A test track for whole frames: a source without sk_buffs, a director behind a cable, and a sink.

    source --redirect--> g0 ===cable=== l0: director        and back: l0 ===cable=== g0: sink

Everything runs on the one CPU that the caller is pinned to. The source is BPF_PROG_TEST_RUN with live frames;
the director and the sink run in that CPU's softirq.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import mmap
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.counting import HardwareCounters
from benchmarks.probe import Settings
from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import interfaces, libbpf
from pointsman.dataplane.xdp.kernel.loader import load
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import namespace, offload
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import AddServer, AddService, Operation
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

BUILD = Path("build/bench")
VIP = ipaddress.IPv4Address("192.168.100.9")
SERVERS = tuple(ipaddress.IPv4Address(f"192.168.101.{number}") for number in range(1, 17))
DIRECTOR_MAC = "02:00:00:00:00:02"
"""The destination that `prepare` writes."""
NATIVE = 1 << 2
"""XDP_FLAGS_DRV_MODE."""
_BATCH = 64


class TrackState(ctypes.Structure):
    """struct track of live.bpf.c."""

    _fields_ = (
        ("arrived", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("egress", ctypes.c_uint32),
    )


def compile_programs() -> None:
    """Build the objects that `Track` loads. Raises CalledProcessError."""
    BUILD.mkdir(parents=True, exist_ok=True)
    compiler = shutil.which("clang-14") or "clang"
    include = f"/usr/include/{platform.machine()}-linux-gnu"
    for name in ("frames", "live"):
        source, made = Path(__file__).with_name(f"{name}.bpf.c"), BUILD / f"track-{name}.bpf.o"
        command = [compiler, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-idirafter", include]
        subprocess.run([*command, "-c", str(source), "-o", str(made)], check=True)


class Track:
    """The track, as a context manager. `floor`, `director`, `ipvs` or `discard` put a program on l0."""

    def __init__(self, counters: HardwareCounters) -> None:
        stem = f"pmt-bench-{os.getpid()}"
        self.source, self.middle = f"{stem}-s", f"{stem}-d"
        self.pins = Path(f"/sys/fs/bpf/{stem}")
        self._counters = counters
        frames = load(BUILD / "track-frames.bpf.o", {}, b"", {}, frozenset({"prepare", "floor_of"}))
        ends = load(BUILD / "track-live.bpf.o", {}, b"", {}, frozenset({"hand_over", "sink_xdp", "sink_tc"}))
        self.programs = frames.programs | ends.programs
        self.settings = Settings.from_buffer(mmap.mmap(frames.maps["settings"], mmap.PAGESIZE))
        self.state = TrackState.from_buffer(mmap.mmap(ends.maps["track"], mmap.PAGESIZE))
        self.settings.vip = int.from_bytes(VIP.packed, "little")
        hand_over = self.programs["hand_over"].to_bytes(4, "little")
        libbpf.map_update(frames.maps["target"], bytes(4), hand_over)

    def __enter__(self) -> Track:
        for name in (self.source, self.middle):
            namespace.create(name)
        self.run(self.source, f"ip link add g0 type veth peer name l0 netns {self.middle}")
        self.run(self.middle, f"ip link set l0 address {DIRECTOR_MAC}")
        for name, interface in ((self.source, "g0"), (self.middle, "l0")):
            for place in ("all", interface):
                self.run(name, f"sysctl -qw net.ipv4.conf.{place}.rp_filter=0")
            self.run(name, f"sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1")
            self.run(name, f"ip link set {interface} up")
        self.run(self.middle, "ip link set lo up")
        self.run(self.middle, f"ip address add {VIP}/16 dev l0")
        self.run(self.middle, "ip route add default dev l0")
        for address in SERVERS:
            self.run(
                self.middle,
                f"ip neighbour add {address} lladdr {server_mac(address).hex(':')} dev l0 nud permanent",
            )
        with namespace.entered(self.source):
            self.state.egress = interfaces.index_of("g0")
        with namespace.entered(self.middle):
            self._inner = interfaces.index_of("l0")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(DataPlaneError):
            XdpDataPlane.remove(self.pins)
        for name in (self.source, self.middle):
            namespace.delete(name)
        for fd in self.programs.values():
            os.close(fd)

    def run(self, name: str, command: str) -> None:
        """Run a command in a namespace. Raises CalledProcessError."""
        with namespace.entered(name):
            subprocess.run(command.split(), check=True, capture_output=True)

    # Programs under test on l0

    @contextlib.contextmanager
    def discard(self) -> Iterator[None]:
        """Discard frames on arrival, to measure the cost of source and cable."""
        with self._attached(self.middle, self._inner, "sink_xdp", libbpf.ATTACH_XDP, NATIVE):
            yield

    @contextlib.contextmanager
    def floor(self) -> Iterator[None]:
        """Attach a bare program that writes MAC addresses and sends the frame back."""
        with (
            self._sink("native"),
            self._attached(self.middle, self._inner, "floor_of", libbpf.ATTACH_XDP, NATIVE),
        ):
            yield

    @contextlib.contextmanager
    def director(self, mode: str, connections: int) -> Iterator[XdpDataPlane]:
        """Attach the data plane under test, native or tc, with rr and sixteen servers."""
        with self._sink(mode):
            if mode != "native":
                offload.accept_frames(self.middle, "l0")
            with namespace.entered(self.middle):
                plane = XdpDataPlane.open(self.pins, ["l0"], mode, connections)
                refused = plane.apply(operations())
                plane.set_next_hops(
                    NextHop(
                        address,
                        self._inner,
                        bytes.fromhex(DIRECTOR_MAC.replace(":", "")),
                        server_mac(address),
                    )
                    for address in SERVERS
                )
            try:
                if refused:
                    raise RuntimeError(f"the table was refused: {refused}")
                yield plane
            finally:
                plane.close(keep_forwarding=False)
                self.run(self.middle, "ip link set l0 xdp off")

    @contextlib.contextmanager
    def ipvs(self) -> Iterator[None]:
        """Configure the kernel's IPVS with the same service."""
        with self._sink("ipvs"):
            offload.accept_frames(self.middle, "l0")
            self.run(self.middle, f"ipvsadm -A -t {VIP}:80 -s rr")
            for address in SERVERS:
                self.run(self.middle, f"ipvsadm -a -t {VIP}:80 -r {address}:80 -g")
            try:
                yield
            finally:
                self.run(self.middle, "ipvsadm -C")
                self.run(self.middle, "ip link set l0 xdp off")

    @contextlib.contextmanager
    def _sink(self, mode: str) -> Iterator[None]:
        kinds = {"native": ("sink_xdp", libbpf.ATTACH_XDP, NATIVE)}
        with self._attached(
            self.source, self.state.egress, *kinds.get(mode, ("sink_tc", libbpf.ATTACH_TCX_INGRESS, 0))
        ):
            yield

    @contextlib.contextmanager
    def _attached(self, name: str, index: int, program: str, attach: int, flags: int) -> Iterator[None]:
        with namespace.entered(name):
            link = libbpf.link_create(self.programs[program], index, attach, flags)
        try:
            yield
        finally:
            os.close(link)

    # Traffic

    def send(self, packets: int, flows: int, flags: int, sequential: bool = False) -> dict[str, float | None]:
        """Return the costs per packet of the whole track. Raises RuntimeError if frames were lost."""
        self.settings.flows, self.settings.flags, self.settings.sequential = flows, flags, sequential
        self.state.arrived = self.state.first = 0
        with namespace.entered(self.source):
            before = self._counters.read()
            _run_live(self.programs["prepare"], packets)
            after = self._counters.read()
        if self.state.arrived < packets * 0.999:
            raise RuntimeError(f"{self.state.arrived} of {packets} frames arrived")
        costs: dict[str, float | None] = {"ns": (self.state.last - self.state.first) / packets}
        for name, total in after.items():
            first = before[name]
            costs[name] = None if total is None or first is None else (total - first) / packets
        return costs


def operations() -> list[Operation]:
    """Return operations for one service with rr and all servers."""
    key = ServiceKey.of(Transport.TCP, VIP, 80)
    return [
        AddService(VirtualService(key=key, scheduler="rr")),
        *(AddServer(key, RealServer(key=ServerKey(address, 80))) for address in SERVERS),
    ]


def server_mac(address: ipaddress.IPv4Address) -> bytes:
    return b"\x02\x00\x00\x00\x01" + address.packed[3:]


def _run_live(program: int, packets: int) -> None:
    libbpf.run_live(program, bytes(54), packets, _BATCH)
