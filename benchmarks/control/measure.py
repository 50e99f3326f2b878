# SPDX-License-Identifier: Apache-2.0
"""Measure one program with tables of several sizes, in the network namespace of this process.

`python -m benchmarks.control.measure PROGRAM RESULT IDLE SIZE...` writes the rows to the file RESULT.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from benchmarks.control import bed, programs
from pointsman.net.addresses import addresses
from pointsman.net.netlink import NetlinkSocket

CHECKS = {
    "pointsman": (*programs.POINTSMAN, "check"),
    "keepalived": ("keepalived", "-t", "-f"),
}
MAKERS: dict[str, Callable[[Path, BinaryIO], programs.Program]] = {
    "pointsman": programs.Pointsman,
    "keepalived": programs.Keepalived,
}
VERDICTS = 3
Row = dict[str, float]


def seconds(command: Sequence[str]) -> float:
    """Return how long a command takes that must succeed."""
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=programs.PATIENCE)
    return time.monotonic() - began


def cpu(command: Sequence[str]) -> float:
    """Return the CPU time of a command: the least of three."""
    return min(_cpu_once(command) for _ in range(3))


def _cpu_once(command: Sequence[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


class Master(threading.Thread):
    """Wait in the background until this host has the virtual address."""

    def __init__(self, began: float) -> None:
        super().__init__(daemon=True)
        self._began = began
        self.after = programs.PATIENCE
        """Seconds since `began`."""
        self.start()

    def run(self) -> None:
        """Poll the addresses of this host."""
        with NetlinkSocket() as netlink:
            while time.monotonic() < self._began + programs.PATIENCE:
                if any(each.address == bed.VIP for each in addresses(netlink)):
                    self.after = time.monotonic() - self._began
                    return
                time.sleep(0.01)


def measure(name: str, size: int, idle: float) -> Row:
    """Return all rows of one size."""
    with tempfile.TemporaryDirectory() as folder, bed.bed(size) as made:
        conf, log = Path(folder) / "bench.conf", Path(folder) / "log"
        conf.write_text(bed.configuration(size))
        checks = CHECKS.items() if name == "pointsman" else [("keepalived", CHECKS["keepalived"])]
        row: Row = {f"check of {who}": cpu([*command, str(conf)]) for who, command in checks}
        with log.open("wb") as output:
            began = time.monotonic()
            program: programs.Program = MAKERS[name](conf, output)
            try:
                row |= under_load(program, made, conf, size, began)
                row |= at_rest(program, made, idle)
            except Exception:
                print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
                raise
            finally:
                with contextlib.suppress(ProcessLookupError):
                    program.process.kill()
                program.process.wait()
    return row


def under_load(program: programs.Program, made: bed.Bed, conf: Path, size: int, began: float) -> Row:
    """Start, reload, list, fail a check."""
    since, master, middle = time.time(), Master(began), size // 2
    program.wait_in_force(bed.service(size - 1), 1)
    row = {"start until in force": time.monotonic() - began}
    master.join()
    row["VRRP master after"] = master.after
    for what, changed in (("one line", range(middle, middle + 1)), ("all", range(size))):
        conf.write_text(bed.configuration(size, changed))
        before = time.monotonic()
        program.reload(bed.service(changed[-1]), 2)
        row[f"reload of {what}"] = time.monotonic() - before
    row["-Ln"] = seconds(program.listing("-Ln"))
    row["-Ln -t one"] = seconds(program.listing("-Ln", "-t", bed.service(middle)))
    row["-Ln --stats"] = seconds(program.listing("-Ln", "--stats"))
    if isinstance(program, programs.Pointsman):
        row["status"] = seconds([*programs.POINTSMAN, "status"])
    row["a verdict in force"] = max(made.verdict() for _ in range(VERDICTS))
    row["advert late, busy"] = max(made.lateness(since, time.time()))
    return row


def at_rest(program: programs.Program, made: bed.Bed, idle: float) -> Row:
    """Look at a program that has nothing to do but its checks. Then stop it."""
    time.sleep(2.0)
    pid, since = program.process.pid, time.time()
    used = programs.cpu_seconds(pid)
    time.sleep(idle)
    row = {
        "idle CPU a minute": (programs.cpu_seconds(pid) - used) * 60 / idle,
        "advert late, idle": max(made.lateness(since, time.time())),
        "PSS MiB": programs.pss_mib(pid),
    }
    return row | {"stop": programs.stop(program)}


if __name__ == "__main__":
    who, file, rest, *sizes = sys.argv[1:]
    table: dict[str, Row] = {}
    for size in sizes:
        table[size] = measure(who, int(size), float(rest))
        Path(file).write_text(json.dumps(table))
