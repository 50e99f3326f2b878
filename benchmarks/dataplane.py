# SPDX-License-Identifier: Apache-2.0
"""Measure the cost of a packet in the XDP program, less that of an empty program.

Nanoseconds, cycles and misses are measured on this machine; cycles and misses need hardware counters.
Instructions come from hardware counters, too. Without them they are counted in a guest by the emulated CPU
(QEMU's icount), with the same result on every machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.guest import machine as guest

from benchmarks import cases
from benchmarks.counting import HardwareCounters
from benchmarks.probe import BUILD, COLUMNS, COUNTED, Bench, Row, compile_frames

GUEST_SECONDS = 1200
"""A bound for a busy machine; the guest needs one or two minutes of CPU time."""
MAX_INSTRUCTIONS = 350
"""The limit for an established TCP packet."""
RIVALS = {
    "first_tcp4_rr_16": "established_tcp4",
    "first_udp4_rr_16": "established_udp4",
    "established_tcp6": "established_tcp4",
}


def machine() -> str:
    """Return CPU and kernel of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def measured_here() -> list[Row]:
    """Measure all cases on one CPU of this machine."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with HardwareCounters() as counters:
        bench = Bench(counters)
        return [*cases.rows(bench), cases.sweep(bench), cases.filling(max(bench.scale.services))]


def counted_in_a_guest() -> tuple[dict[str, float], str]:
    """Return instructions by case, and the guest's kernel; without a guest, an empty dict and the reason."""
    reason = guest.missing()
    if reason:
        return {}, reason
    kernel = guest.kernels()[-1]
    folder = (BUILD / "counting").absolute()
    command = [sys.executable, "-m", "benchmarks.dataplane", str(folder / "rows.json")]
    try:
        outcome = guest.run(kernel, command, folder, GUEST_SECONDS, counting=True)
    except guest.GuestError as late:  # what was measured here is shown all the same
        return {}, str(late).splitlines()[0]
    if outcome.code:
        return {}, f"the measurement in the guest failed: {outcome.output.strip().splitlines()[-1]}"
    return json.loads((folder / "rows.json").read_text()), f"Linux {kernel.release}"


def count() -> dict[str, float]:
    """Count instructions inside the guest, by its clock. Of several sizes of a case, keep the first."""
    found: dict[str, float] = {}
    with HardwareCounters() as counters:
        for row in cases.rows(Bench(counters, COUNTED)):
            found.setdefault(name_of(row.case), row.ns or 0.0)
    return found


def name_of(case: str) -> str:
    """Return the case without its number of services or connections: instructions do not depend on it."""
    return (
        case.rstrip("0123456789")
        if case.startswith(("established_services_", "established_among_"))
        else case
    )


def combine(rows: Iterable[Row], counted: Mapping[str, float]) -> None:
    """Fill in the instructions that this machine could not count."""
    for row in rows:
        if row.instructions is None:
            row.instructions = counted.get(name_of(row.case))


def show(found: list[Row]) -> str:
    """Return the table as text."""
    header = f"{'case':<32}{'flows':>11}" + "".join(f"{name.replace('_', ' '):>15}" for name in COLUMNS)
    lines = [header, "-" * len(header)]
    for row in found:
        values = [getattr(row, name) for name in COLUMNS]
        cells = "".join(f"{'-' if value is None else format(value, ',.0f'):>15}" for value in values)
        lines.append(f"{row.case:<32}{row.flows:>11,}{cells}")
    return "\n".join(lines)


def verdict(found: Iterable[Row]) -> str:
    """Compare first packets and IPv6 with established IPv4, and that with its limit."""
    ns = {(row.case, row.flows): row.ns for row in found}
    instructions = {row.case: row.instructions for row in found}
    lines = []
    for (case, flows), cost in ns.items():
        if case in RIVALS:
            known = ns.get((RIVALS[case], flows)) or ns.get((f"{RIVALS[case]}_once", flows))
            if cost and known:
                lines.append(f"{case}, {flows:,} flows: {cost / known:.1f} times {RIVALS[case]}'s ns")
    for case, rival in RIVALS.items():
        more, less = instructions.get(case), instructions.get(rival)
        if more and less:
            lines.append(f"{case}: {more / less:.1f} times {rival}'s instructions")
    taken = instructions.get("established_tcp4")
    if taken is not None:
        kept = "at most" if taken <= MAX_INSTRUCTIONS else "MORE THAN"
        lines.append(f"established_tcp4: {taken:.0f} instructions, {kept} the {MAX_INSTRUCTIONS} it may take")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write build/bench/dataplane.json."""
    compile_frames()
    found = measured_here()
    counted, where = counted_in_a_guest()
    combine(found, counted)
    print(f"Costs of a packet, less those of an empty program, on {machine()}:\n")
    print(show(found))
    print(f"\n{verdict(found)}")
    print(f"instructions: {'counted in a guest with' if counted else 'not counted in a guest:'} {where}")
    if all(row.cycles is None for row in found):
        print("-: no hardware counters here (a virtual machine without a PMU)")
    result = {"machine": machine(), "rows": [asdict(row) for row in found]}
    (BUILD / "dataplane.json").write_text(json.dumps(result, indent=2) + "\n")
    remember(result)
    print(f"\nwritten to {BUILD / 'dataplane.json'}, added to {BUILD / 'history.jsonl'}")


def remember(result: Mapping[str, object]) -> None:
    """Append this run to the history, a line of JSON with time and commit."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "commit": described.stdout.strip()}
    with (BUILD / "history.jsonl").open("a") as file:
        file.write(json.dumps({**line, **result}) + "\n")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(count()))
