"""What a packet costs in the XDP program: nanoseconds, instructions, cycles, net of an empty program.

BPF_PROG_TEST_RUN with a preparing program in front (frames.bpf.c), hardware counters where there are any.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import mmap
import os
import platform
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.counting import EVENTS, HardwareCounters
from pointsman.dataplane.interface import NextHop
from pointsman.dataplane.xdp import syscalls
from pointsman.dataplane.xdp.loader import Loaded, load
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.dataplane.xdp.tables import Sizes
from pointsman.model.operations import AddServer, AddService, Operation
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

SOURCE = Path(__file__).with_name("frames.bpf.c")
BUILD = Path("build/bench")
VIP = ipaddress.IPv4Address("192.168.100.9")
SERVERS = 16
MANY = 1_000_000
RUNS = 5
REPEAT = 1_000_000
SYN, ACK = 2, 16
TOLERATED = 1e-4
"""Share of packets that may find both their buckets full."""


class Settings(ctypes.Structure):
    """struct settings of frames.bpf.c."""

    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("flows", "counter", "sequential", "flags", "vip", "port_bits")
    )


@dataclass
class Row:
    """The median of several runs, a packet."""

    case: str
    flows: int
    ns: float
    instructions: float | None
    cycles: float | None
    cache_misses: float | None
    branch_misses: float | None


class Bench:
    """The preparing program and what it leads to."""

    def __init__(self, counters: HardwareCounters) -> None:
        self._counters = counters
        BUILD.mkdir(parents=True, exist_ok=True)
        compiled = BUILD / "frames.bpf.o"
        include = f"/usr/include/{platform.machine()}-linux-gnu"
        command = ["clang-14", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-idirafter", include]
        subprocess.run([*command, "-c", str(SOURCE), "-o", str(compiled)], check=True)
        self.loaded: Loaded = load(compiled, {}, b"", {}, frozenset({"prepare", "empty", "floor_of"}))
        memory = mmap.mmap(self.loaded.maps[".data.settings"], mmap.PAGESIZE)
        self.settings = Settings.from_buffer(memory)
        self.settings.vip = int.from_bytes(VIP.packed, "little")
        self.settings.port_bits = 2

    def aim(self, program: int) -> None:
        """Choose the program under test."""
        syscalls.map_update(self.loaded.maps["target"], bytes(4), program.to_bytes(4, "little"))

    def run(
        self, flows: int, flags: int, sequential: bool = False, repeat: int = REPEAT
    ) -> dict[str, float | None]:
        """One run; costs a packet. Raises RuntimeError when the program does not forward."""
        self.settings.flows, self.settings.flags = flows, flags
        self.settings.sequential, self.settings.counter = sequential, 0
        before = self._counters.read()
        result = syscalls.run_program(self.loaded.programs["prepare"], bytes(54), repeat)
        after = self._counters.read()
        if result.verdict != 3:
            raise RuntimeError(f"the program returned {result.verdict}, not XDP_TX")
        costs: dict[str, float | None] = {"ns": float(result.nanoseconds)}
        for name in EVENTS:
            start, end = before[name], after[name]
            costs[name] = None if start is None or end is None else (end - start) / repeat
        return costs


def measure(
    bench: Bench,
    case: str,
    program: int,
    flows: int,
    flags: int,
    before_run: Callable[[], None] = lambda: None,
    sequential: bool = False,
) -> Row:
    """Median costs less those of the empty program at the same flows."""
    net: dict[str, list[float]] = {}
    for _ in range(RUNS):
        bench.aim(bench.loaded.programs["empty"])
        base = bench.run(flows, flags, sequential)
        bench.aim(program)
        before_run()
        costs = bench.run(flows, flags, sequential)
        for name, cost in costs.items():
            empty = base[name]
            if cost is not None and empty is not None:
                net.setdefault(name, []).append(cost - empty)
    medians = {name: round(statistics.median(values), 1) for name, values in net.items()}
    return Row(case, flows, medians["ns"], *(medians.get(name) for name in _COLUMNS[1:]))


_COLUMNS = ("ns", "instructions", "cycles", "cache_misses", "branch_misses")


def director() -> XdpDataPlane:
    """rr over sixteen servers, room for the flows of every case."""
    plane = XdpDataPlane.unattached(Sizes(connections=MANY))
    key = ServiceKey.of(Transport.TCP, VIP, 80)
    servers = [ipaddress.IPv4Address(f"192.168.101.{number}") for number in range(1, SERVERS + 1)]
    operations: list[Operation] = [AddService(VirtualService(key=key, scheduler="rr"))]
    operations += [AddServer(key, RealServer(key=ServerKey(address, 80))) for address in servers]
    refusals = plane.apply(operations)
    if refusals:
        raise RuntimeError(f"the table was refused: {refusals}")
    plane.set_next_hops(
        NextHop(address, 1, bytes(6), b"\x02\x00\x00\x00\x01" + address.packed[3:]) for address in servers
    )
    return plane


def rows(bench: Bench) -> list[Row]:
    """All cases."""
    found = [measure(bench, "floor", bench.loaded.programs["floor_of"], 1, ACK)]
    plane = director()
    program = plane.programs["direct_xdp"]

    def forget() -> None:
        plane.tables.control.now += plane.tables.control.timeout[2] + 1
        syscalls.run_program(plane.programs["sweep_now"])

    def establish(flows: int) -> None:
        forget()
        bench.aim(program)
        for flags in (SYN, ACK):
            bench.run(flows, flags, sequential=True, repeat=max(flows, 2))

    for flows in (1, MANY):
        establish(flows)
        found.append(measure(bench, "established_tcp4", program, flows, ACK))
    found.append(measure(bench, "first_tcp4_rr", program, MANY, SYN, forget, sequential=True))
    exits = plane.counters().exits
    if sum(exits.values()) > TOLERATED * MANY * RUNS:
        raise RuntimeError(f"not every packet took the way that was to be measured: {exits}")
    plane.close(keep_forwarding=False)
    return found


def machine() -> str:
    """CPU and kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def show(found: list[Row]) -> str:
    """The table as text."""
    header = f"{'case':<20}{'flows':>10}" + "".join(f"{name.replace('_', ' '):>16}" for name in _COLUMNS)
    lines = [header, "-" * len(header)]
    for row in found:
        values = [getattr(row, name) for name in _COLUMNS]
        cells = "".join(f"{'-' if value is None else format(value, '.1f'):>16}" for value in values)
        lines.append(f"{row.case:<20}{row.flows:>10}{cells}")
    return "\n".join(lines)


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with HardwareCounters() as counters:
        found = rows(Bench(counters))
    print(f"Costs of a packet, less those of an empty program, on {machine()}:\n")
    print(show(found))
    result = {"machine": machine(), "rows": [asdict(row) for row in found]}
    (BUILD / "dataplane.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {BUILD / 'dataplane.json'}")


if __name__ == "__main__":
    main()
