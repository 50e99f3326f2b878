# SPDX-License-Identifier: Apache-2.0
"""Measure the cost of forwarding a frame, from veth to veth, on one CPU.

On this kernel the result is packets per second, compared with a bare program that only writes MAC addresses.
In a guest with Debian's 6.12 it is instructions, compared with the kernel's IPVS under the same traffic. The
guest's clock ticks once per instruction, so its numbers are the same on every machine and under any load.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.guest import machine

from benchmarks.counting import HardwareCounters
from benchmarks.dataplane import machine as describe
from benchmarks.live import BUILD, Track, compile_programs

RUNS = 4
PACKETS, FIRSTS = 1 << 20, 1 << 18
MANY = 1_000_000
GUEST_PACKETS = 1 << 13
GUEST_SECONDS = 1200
"""A bound for a loaded machine; an idle one takes two minutes."""
SYN, ACK = 2, 16
ENDLESS = 1 << 31
"""A number of flows so large that none is sent twice."""


@dataclass
class Row:
    """The best of several runs, per packet, less the cost of frames that are discarded on arrival."""

    case: str
    flows: int
    ns: float | None = None
    instructions: float | None = None
    cycles: float | None = None
    packets_per_second: float | None = None
    """Packets per second of the whole track: source, cable, program, cable, sink."""


Costs = dict[str, float | None]


def best(run: Callable[[], Costs]) -> Costs:
    """Return the cheapest run: other work on the machine can only add to the cost."""
    return min((run() for _ in range(RUNS)), key=lambda costs: costs["ns"] or 0)


def net(case: str, flows: int, costs: Costs, base: Costs) -> Row:
    """Return a row of the host's table."""

    def less(name: str) -> float | None:
        cost, empty = costs[name], base[name]
        return None if cost is None or empty is None else round(cost - empty, 1)

    speed = round(1e9 / (costs["ns"] or 1))
    return Row(case, flows, less("ns"), less("instructions"), less("cycles"), speed)


def on_the_host(track: Track) -> list[Row]:
    """Measure native XDP and the bare program."""
    with track.discard():
        base = best(partial(track.send, PACKETS, 1, ACK))
    rows = [Row("veth_discard", 1, 0, 0, 0, round(1e9 / (base["ns"] or 1)))]
    with track.floor():
        for flows in (1, MANY):
            costs = best(partial(track.send, PACKETS, flows, ACK))
            rows.append(net("veth_floor", flows, costs, base))
    with track.director("native", 2 * MANY) as plane:
        for flows in (1, MANY):
            establish(track, flows)
            costs = best(partial(track.send, PACKETS, flows, ACK))
            rows.append(net("veth_established_tcp4", flows, costs, base))
        track.settings.counter = MANY
        rows.append(
            net("veth_first_tcp4_rr", ENDLESS, best(partial(track.send, FIRSTS, ENDLESS, SYN, True)), base)
        )
        lost = sum(plane.counters().exits.values())
        if lost > PACKETS / 1000:
            raise RuntimeError(
                f"not every packet took the path that was to be measured: {plane.counters().exits}"
            )
    return rows


def establish(track: Track, flows: int) -> None:
    """Establish every flow by SYN and ACK."""
    for flags in (SYN, ACK):
        track.settings.counter = 0
        track.send(max(flows, 64), flows, flags, sequential=True)


def in_the_guest(track: Track) -> list[Row]:
    """Measure the data plane in XDP and in tc, and IPVS. In the guest a nanosecond is an instruction."""
    with track.discard():
        base = best(partial(track.send, GUEST_PACKETS, 1, ACK))
    rows = []

    def measured(name: str) -> None:
        establish(track, 1)
        for case, flows, flags in (("established_tcp4", 1, ACK), ("first_tcp4_rr", ENDLESS, SYN)):
            costs = best(partial(track.send, GUEST_PACKETS, flows, flags, flows == ENDLESS))
            row = net(f"guest_{name}_{case}", flows, costs, base)
            rows.append(Row(row.case, flows, instructions=row.ns))

    with track.floor():
        costs = best(partial(track.send, GUEST_PACKETS, 1, ACK))
        rows.append(Row("guest_floor", 1, instructions=net("", 1, costs, base).ns))
    for mode in ("native", "tc"):
        with track.director(mode, 1 << 18):
            measured(mode)
        with track.director(mode, 1 << 18) as plane:
            plane.exchange.sync = True
            measured(f"{mode}_sync")
    with track.ipvs():
        measured("ipvs")
    return rows


def from_a_guest() -> tuple[list[Row], str]:
    """Return the guest's rows and its kernel; without a guest, no rows and the reason."""
    reason = machine.missing()
    if reason:
        return [], reason
    kernel = machine.kernels()[-1]
    folder = (BUILD / "guest").absolute()
    command = [sys.executable, "-m", "benchmarks.forwarding", str(folder / "rows.json")]
    modules = ["veth", "ip_vs conn_tab_bits=18", "ip_vs_rr"]
    outcome = machine.run(kernel, command, folder, GUEST_SECONDS, modules, counting=True)
    if outcome.code:
        raise RuntimeError(f"the measurement in the guest failed:\n{outcome.output}")
    return [Row(**row) for row in json.loads((folder / "rows.json").read_text())], f"Linux {kernel.release}"


def show(rows: list[Row]) -> str:
    """Return the table as text."""
    names = ("ns", "instructions", "cycles", "packets_per_second")
    header = f"{'case':<32}{'flows':>10}" + "".join(f"{name.replace('_', ' '):>20}" for name in names)
    lines = [header, "-" * len(header)]
    for row in rows:
        flows = "all new" if row.flows == ENDLESS else str(row.flows)
        values = [getattr(row, name) for name in names]
        cells = "".join(f"{'-' if value is None else format(value, ',.0f'):>20}" for value in values)
        lines.append(f"{row.case:<32}{flows:>10}{cells}")
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """Compare IPVS with the data plane under test."""
    cost = {row.case: row.instructions for row in rows}
    lines = []
    for case in ("established_tcp4", "first_tcp4_rr"):
        theirs = cost.get(f"guest_ipvs_{case}")
        for mode in ("native", "tc"):
            ours = cost.get(f"guest_{mode}_{case}")
            if theirs and ours:
                lines.append(f"{case}: IPVS costs {theirs / ours:.1f} times what we cost on {mode}")
    return "\n".join(lines)


def measure(rows_of: Callable[[Track], list[Row]]) -> list[Row]:
    """Measure on one CPU."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with HardwareCounters() as counters, Track(counters) as track:
        return rows_of(track)


def main() -> None:
    """Measure, print, and write build/bench/forwarding.json."""
    compile_programs()
    rows = measure(on_the_host)
    print(f"A frame through a veth pair and back, less one that is discarded, on {describe()}:\n")
    print(show(rows))
    guests, where = from_a_guest()
    print(f"\nThe same in a guest, beside the kernel's IPVS, in instructions: {where}\n")
    if guests:
        print(show(guests))
        print(f"\n{verdict(guests)}")
    result = {"machine": describe(), "guest": where, "rows": [asdict(row) for row in rows + guests]}
    (BUILD / "forwarding.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {BUILD / 'forwarding.json'}")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps([asdict(row) for row in measure(in_the_guest)]))
