"""What a packet costs in the XDP program: nanoseconds, instructions, cycles, net of an empty program.

BPF_PROG_TEST_RUN with a preparing program in front (frames.bpf.c), hardware counters where there are any.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.counting import EVENTS, HardwareCounters
from benchmarks.directors import VIP, director, forget
from pointsman.dataplane.xdp import syscalls
from pointsman.dataplane.xdp.loader import Loaded, load
from pointsman.dataplane.xdp.plane import XdpDataPlane

SOURCE = Path(__file__).with_name("frames.bpf.c")
BUILD = Path("build/bench")
MANY, FEW = 1_000_000, 20_000
SOURCES = 10_000_000
RUNS = 3
REPEAT = 500_000
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
        self.loaded: Loaded = load(
            compiled, {}, b"", {}, frozenset({"prepare", "empty", "floor_of", "lru_of"})
        )
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
    repeat: int = REPEAT,
) -> Row:
    """Median costs less those of the empty program at the same flows."""
    net: dict[str, list[float]] = {}
    for _ in range(RUNS):
        bench.aim(bench.loaded.programs["empty"])
        base = bench.run(flows, flags, sequential, repeat)
        bench.aim(program)
        before_run()
        costs = bench.run(flows, flags, sequential, repeat)
        for name, cost in costs.items():
            empty = base[name]
            if cost is not None and empty is not None:
                net.setdefault(name, []).append(cost - empty)
    medians = {name: round(statistics.median(values), 1) for name, values in net.items()}
    return Row(case, flows, medians["ns"], *(medians.get(name) for name in _COLUMNS[1:]))


_COLUMNS = ("ns", "instructions", "cycles", "cache_misses", "branch_misses")


def rows(bench: Bench) -> list[Row]:
    """All cases."""
    found = [measure(bench, "floor", bench.loaded.programs["floor_of"], 1, ACK)]
    found += established(bench)
    found += [first_packet(bench, scheduler, 16) for scheduler in ("rr", "wrr", "sh", "mh")]
    found += [first_packet(bench, scheduler, 256) for scheduler in ("rr", "wrr", "sh", "mh")]
    found += [
        first_packet(bench, scheduler, servers)
        for scheduler in ("lc", "wlc", "sed")
        for servers in (2, 16, 256, 1000)
    ]
    found += [established_among(bench, services) for services in (1, 100, 10_000)]
    found.append(flood(bench))
    found += lru(bench)
    found.append(sweep())
    return found


def established(bench: Bench) -> list[Row]:
    """A packet of a known connection; and rr's first packet, with as many flows."""
    plane = director(connections=MANY)
    program, found = plane.programs["direct_xdp"], []
    for flows in (1, MANY):
        forget(plane)
        establish(bench, program, flows)
        found.append(measure(bench, "established_tcp4", program, flows, ACK))
    renew = partial(forget, plane)
    found.append(measure(bench, "first_tcp4_rr_16", program, MANY, SYN, renew, sequential=True))
    tolerate(plane, MANY)
    plane.close(keep_forwarding=False)
    return found


def establish(bench: Bench, program: int, flows: int) -> None:
    bench.aim(program)
    for flags in (SYN, ACK):
        bench.run(flows, flags, sequential=True, repeat=max(flows, 2))


def tolerate(plane: XdpDataPlane, packets: int) -> None:
    """Raises RuntimeError when packets took another way than the one that was to be measured."""
    exits = plane.counters().exits
    if sum(exits.values()) > TOLERATED * packets * RUNS:
        raise RuntimeError(f"not every packet took the way that was to be measured: {exits}")


def first_packet(bench: Bench, scheduler: str, servers: int) -> Row:
    """SYNs of 20,000 connections: a table that fits a cache, so that the choice is what costs."""
    plane = director(scheduler, servers, connections=FEW * 4)
    case, program = f"first_tcp4_{scheduler}_{servers}", plane.programs["direct_xdp"]
    row = measure(bench, case, program, FEW, SYN, partial(forget, plane), sequential=True, repeat=FEW)
    tolerate(plane, FEW)
    plane.close(keep_forwarding=False)
    return row


def established_among(bench: Bench, services: int) -> Row:
    """One flow of one service among others."""
    plane = director(services=services, connections=1 << 14)
    program = plane.programs["direct_xdp"]
    establish(bench, program, 1)
    row = measure(bench, f"established_services_{services}", program, 1, ACK)
    plane.close(keep_forwarding=False)
    return row


def flood(bench: Bench) -> Row:
    """SYNs from ten million random sources when the table is full."""
    plane = director(connections=1 << 18)
    program = plane.programs["direct_xdp"]
    bench.settings.port_bits = 0
    bench.aim(program)
    bench.run(SOURCES, SYN, repeat=MANY)
    row = measure(bench, "syn_flood_full_table", program, SOURCES, SYN)
    bench.settings.port_bits = 2
    plane.close(keep_forwarding=False)
    return row


def lru(bench: Bench) -> list[Row]:
    """The same path without states and services, on the kernel's LRU_HASH: known flows, then new ones."""
    program, found = bench.loaded.programs["lru_of"], []
    for flows in (1, MANY):
        bench.aim(program)
        bench.run(flows, ACK, sequential=True, repeat=max(flows, 2))
        found.append(measure(bench, "lru_hash_known", program, flows, ACK))
    found.append(measure(bench, "lru_hash_new", program, 1 << 31, ACK))
    return found


def sweep() -> Row:
    """An entry of a table of 1,048,576 live connections, looked at by the sweep; net of nothing."""
    with HardwareCounters() as counters:
        bench, plane = Bench(counters), director()
        establish(bench, plane.programs["direct_xdp"], MANY)
        times = []
        for _ in range(RUNS):
            start = time.perf_counter_ns()
            syscalls.run_program(plane.programs["sweep_now"])
            times.append(time.perf_counter_ns() - start)
        plane.close(keep_forwarding=False)
    return Row(
        "sweep_per_connection", MANY, round(statistics.median(times) / MANY, 1), None, None, None, None
    )


def machine() -> str:
    """CPU and kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def show(found: list[Row]) -> str:
    """The table as text."""
    header = f"{'case':<28}{'flows':>10}" + "".join(f"{name.replace('_', ' '):>16}" for name in _COLUMNS)
    lines = [header, "-" * len(header)]
    for row in found:
        values = [getattr(row, name) for name in _COLUMNS]
        cells = "".join(f"{'-' if value is None else format(value, '.1f'):>16}" for value in values)
        lines.append(f"{row.case:<28}{row.flows:>10}{cells}")
    return "\n".join(lines)


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with HardwareCounters() as counters:
        found = rows(Bench(counters))
    print(f"Costs of a packet, less those of an empty program, on {machine()}:\n")
    print(show(found))
    if all(row.instructions is None for row in found):
        print("\n-: this machine has no hardware counters (a virtual machine without a PMU), so only times")
    result = {"machine": machine(), "rows": [asdict(row) for row in found]}
    (BUILD / "dataplane.json").write_text(json.dumps(result, indent=2) + "\n")
    remember(result)
    print(f"\nwritten to {BUILD / 'dataplane.json'}, added to {BUILD / 'history.jsonl'}")


def remember(result: Mapping[str, object]) -> None:
    """Add this run to the history: a line of JSON with time and commit."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "commit": described.stdout.strip()}
    with (BUILD / "history.jsonl").open("a") as file:
        file.write(json.dumps({**line, **result}) + "\n")


if __name__ == "__main__":
    main()
