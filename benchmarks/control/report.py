# SPDX-License-Identifier: Apache-2.0
"""Print what the control plane costs by the size of the table, beside keepalived and ipvsadm.

Pointsman runs on this machine. keepalived and ipvsadm need IPVS, so they run in a guest whose processor is
emulated. The CPU time of `keepalived -t` in both places tells how much slower the guest is; their other times
are divided by that factor. SIZES="10 100" and IDLE=5 (seconds) make a short run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from tests.guest import machine

RESULT = Path("build/bench/control.json")
SIZES, IDLE = "10 100 1000 10000", "10"
SECONDS = 400
"""Limit of each program."""
ROWS = (
    "start until in force",
    "VRRP master after",
    "reload of one line",
    "reload of all",
    "stop",
    "-Ln",
    "-Ln -t one",
    "-Ln --stats",
    "status",
    "a verdict in force",
    "idle CPU a minute",
    "PSS MiB",
    "advert late, idle",
    "advert late, busy",
)
UNSCALED = ("PSS MiB", "VRRP master after")
"""Memory, and a time that is mostly one of protocol."""
CELL = """
mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/lock
mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf
ip link set lo up
exec "$@"
"""
Table = dict[str, dict[str, float]]


def command(program: str, file: Path) -> list[str]:
    """Return the command that measures a program."""
    sizes = os.environ.get("SIZES", SIZES).split()
    idle = os.environ.get("IDLE", IDLE)
    return [sys.executable, "-m", "benchmarks.control.measure", program, str(file), idle, *sizes]


def here(folder: Path) -> Table:
    """Measure Pointsman in namespaces that end with it."""
    file = folder / "pointsman.json"
    cell = ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    words = [*cell, "sh", "-euc", CELL, "sh", *command("pointsman", file)]
    subprocess.run(words, check=True, timeout=SECONDS)
    found: Table = json.loads(file.read_text())
    return found


def in_guest(folder: Path, kernel: machine.Kernel) -> Table:
    """Measure keepalived in a guest with IPVS."""
    file = folder / "keepalived.json"
    modules = ["ip_vs", "ip_vs_rr", "ip_vs_wrr", "veth"]
    outcome = machine.run(kernel, command("keepalived", file), folder, SECONDS, modules)
    if outcome.code:
        raise RuntimeError(f"the measurement in the guest failed:\n{outcome.output}")
    found: Table = json.loads(file.read_text())
    return found


def shown(values: list[float | None]) -> str:
    """Return the cells of a row, and its growth from one size to the next."""
    cells = "".join(f"{'-':>10}" if each is None else f"{each:10.3f}" for each in values)
    growth = [
        f"{later / earlier:8.1f}" if earlier and later is not None else f"{'-':>8}"
        for earlier, later in pairwise(values)
    ]
    return cells + "  " + "".join(growth)


def show(ours: Table, theirs: Table) -> None:
    """Print the table."""
    sizes = list(ours)
    last = sizes[-1]
    factor = theirs[last]["check of keepalived"] / ours[last]["check of keepalived"] if theirs else 1.0
    print(f"the guest is {factor:.1f} times as slow as this machine: times of keepalived are divided by that")
    growth = "".join(f"{f'to {size}':>8}" for size in sizes[1:])
    print(f"\n{'seconds; 4 servers a service':34}" + "".join(f"{size:>10}" for size in sizes) + "  " + growth)
    checks = {who: [ours[size][f"check of {who}"] for size in sizes] for who in ("pointsman", "keepalived")}
    print(f"{'check (CPU)':24}{'pointsman':10}{shown([*checks['pointsman']])}")
    print(f"{'  -t (CPU, here)':24}{'keepalived':10}{shown([*checks['keepalived']])}")
    for name in ROWS:
        print(f"{name:24}{'pointsman':10}{shown([ours[size].get(name) for size in sizes])}")
        values = [theirs.get(size, {}).get(name) for size in sizes]
        if any(value is not None for value in values):
            divisor = 1.0 if name in UNSCALED else factor
            scaled = [None if value is None else value / divisor for value in values]
            print(f"{'':24}{'keepalived':10}{shown(scaled)}")


def main() -> None:
    """Measure both, print the table, write the JSON."""
    if os.geteuid():
        print("bench control needs root, for network namespaces")
        return
    folder = RESULT.parent.absolute() / "control"
    folder.mkdir(parents=True, exist_ok=True)
    ours = here(folder)
    reason = machine.missing()
    if reason:
        print(f"no guest, so no keepalived to compare with: {reason}")
    theirs = {} if reason else in_guest(folder, machine.kernels()[-1])
    show(ours, theirs)
    load = round(os.getloadavg()[0], 1)
    RESULT.write_text(json.dumps({"load": load, "pointsman": ours, "keepalived": theirs}, indent=2) + "\n")
    print(f"\nwritten to {RESULT}; load {load} at the end")
