# SPDX-License-Identifier: Apache-2.0
"""One measurement by BPF_PROG_TEST_RUN: a program prepares each frame and calls the program under test.

In a guest whose clock counts instructions (tests/guest/machine.py), a nanosecond is an instruction.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counting import EVENTS, HardwareCounters
from benchmarks.directors import VIP
from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.kernel.loader import Loaded, load
from pointsman.dataplane.xdp.plane import XdpDataPlane

SOURCE = Path(__file__).with_name("frames.bpf.c")
BUILD = Path("build/bench")
OBJECT = BUILD / "frames.bpf.o"
SYN, ACK = 2, 16
XDP_TX = 3
COLUMNS = ("ns", "instructions", "cycles", "cache_misses", "branch_misses")


class Settings(ctypes.Structure):
    """struct settings of frames.bpf.c."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("flows", "counter", "sequential", "flags", "vip", "port_bits", "udp", "ipv6")
    )


@dataclass(frozen=True)
class Scale:
    """The sizes of a run; the numbers of flows appear in the table."""

    many: int = 1_000_000
    few: int = 20_000
    """Flows whose table fits a cache."""
    sources: int = 10_000_000
    repeat: int = 500_000
    runs: int = 3
    services: tuple[int, ...] = (1, 100, 10_000)
    tables: tuple[int, ...] = (1_000, 100_000, 10_000_000)
    """Established connections in the table during a measurement."""
    crowds: tuple[int, ...] = (2, 16, 256, 1000)
    """Servers of a service."""


FULL = Scale()
COUNTED = Scale(16_384, 1_024, 1 << 20, 2_048, 1, (1,), (1_000,), (2, 16, 256, 1000))
"""The sizes in a guest. Every instruction costs the same there: caches do not matter, one run is enough."""


@dataclass
class Row:
    """The median of several runs, per packet."""

    case: str
    flows: int
    ns: float | None = None
    instructions: float | None = None
    cycles: float | None = None
    cache_misses: float | None = None
    branch_misses: float | None = None


def compile_frames() -> None:
    """Build frames.bpf.o. Raises CalledProcessError."""
    BUILD.mkdir(parents=True, exist_ok=True)
    compiler = shutil.which("clang-14") or "clang"
    include = f"/usr/include/{platform.machine()}-linux-gnu"
    command = [compiler, "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-idirafter", include]
    subprocess.run([*command, "-c", str(SOURCE), "-o", str(OBJECT)], check=True)


class Bench:
    """The program that prepares frames, and the settings of a measurement."""

    def __init__(self, counters: HardwareCounters, scale: Scale = FULL) -> None:
        self.scale = scale
        self.planes: dict[int, XdpDataPlane] = {}
        """Data planes that several cases share, by their flows."""
        self._counters = counters
        programs = frozenset({"prepare", "prepare6", "empty", "floor_of", "lru_of"})
        self.loaded: Loaded = load(OBJECT, {}, b"", {}, programs)
        memory = mmap.mmap(self.loaded.maps["settings"], mmap.PAGESIZE)
        self.settings = Settings.from_buffer(memory)
        self.settings.vip = int.from_bytes(VIP.packed, "little")
        self.settings.port_bits = 2

    @contextmanager
    def sending(self, **settings: int) -> Iterator[None]:
        """Change settings of frames.bpf.c, by name."""
        before = {name: getattr(self.settings, name) for name in settings}
        for name, value in settings.items():
            setattr(self.settings, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self.settings, name, value)

    def aim(self, program: int) -> None:
        """Choose the program under test."""
        libbpf.map_update(self.loaded.maps["target"], bytes(4), program.to_bytes(4, "little"))

    def run(
        self, flows: int, flags: int, sequential: bool = False, repeat: int = 0
    ) -> dict[str, float | None]:
        """Run once. Return the costs per packet. Raises RuntimeError if the program does not forward."""
        repeat = repeat or self.scale.repeat
        self.settings.flows, self.settings.flags = flows, flags
        self.settings.sequential, self.settings.counter = sequential, 0
        before = self._counters.read()
        name, length = ("prepare6", 74) if self.settings.ipv6 else ("prepare", 54)
        result = libbpf.run_program(self.loaded.programs[name], bytes(length), repeat)
        after = self._counters.read()
        if result.verdict != XDP_TX:
            raise RuntimeError(f"the program returned {result.verdict}, not XDP_TX")
        costs: dict[str, float | None] = {"ns": float(result.nanoseconds)}
        for name in EVENTS:
            start, end = before[name], after[name]
            costs[name] = None if start is None or end is None else (end - start) / repeat
        return costs

    def establish(self, program: int, flows: int) -> None:
        """Establish every flow by SYN and ACK."""
        self.aim(program)
        for flags in (SYN, ACK):
            self.run(flows, flags, sequential=True, repeat=max(flows, 2))

    def measure(
        self,
        case: str,
        program: int,
        flows: int,
        flags: int,
        before_run: Callable[[], None] = lambda: None,
        sequential: bool = False,
        repeat: int = 0,
    ) -> Row:
        """Return the median costs, less those of the empty program with the same flows."""
        net: dict[str, list[float]] = {}
        for _ in range(self.scale.runs):
            self.aim(self.loaded.programs["empty"])
            base = self.run(flows, flags, sequential, repeat)
            self.aim(program)
            before_run()
            costs = self.run(flows, flags, sequential, repeat)
            for name, cost in costs.items():
                empty = base[name]
                if cost is not None and empty is not None:
                    net.setdefault(name, []).append(cost - empty)
        medians = {name: round(statistics.median(values), 1) for name, values in net.items()}
        return Row(case, flows, *(medians.get(name) for name in COLUMNS))
