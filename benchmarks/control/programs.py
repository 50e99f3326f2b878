# SPDX-License-Identifier: Apache-2.0
"""The programs that `control` measures, with one interface: Pointsman; keepalived and ipvsadm."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO, Protocol

POINTSMAN = (sys.executable, "-m", "pointsman")
PATIENCE = 180.0
"""Seconds after which a step has failed."""


class Program(Protocol):
    """A director program. Its file is `conf`."""

    process: subprocess.Popen[bytes]

    def wait_in_force(self, last: str, weight: int) -> None:
        """Wait until the table has this last service, with the first real server at this weight."""

    def reload(self, changed: str, weight: int) -> None:
        """Read the file again, and wait until this service's first real server has this weight."""

    def listing(self, *words: str) -> list[str]:
        """Return the command of ipvsadm with these words."""


class Pointsman:
    """`pointsman run`."""

    def __init__(self, conf: Path, log: BinaryIO) -> None:
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = conf.with_name("notify")
        path.unlink(missing_ok=True)
        self._ready.bind(str(path))
        self._ready.settimeout(1.0)
        command = [*POINTSMAN, "run", "-f", str(conf)]
        self.process = _start(command, log, {"NOTIFY_SOCKET": str(path)})

    def wait_in_force(self, last: str, weight: int) -> None:
        """Wait for READY: the table is in force."""
        latest, received = time.monotonic() + PATIENCE, b""
        while not received.startswith(b"READY=1"):
            if time.monotonic() > latest or self.process.poll() is not None:
                raise RuntimeError("pointsman: the table is not in force")
            with contextlib.suppress(TimeoutError):
                received = self._ready.recv(4096)
        self._ready.close()

    def reload(self, changed: str, weight: int) -> None:
        """Reload; the command ends when the configuration is in force. A busy director may not answer yet."""
        latest = time.monotonic() + PATIENCE
        while subprocess.run([*POINTSMAN, "reload"], check=False, stdout=subprocess.DEVNULL).returncode:
            if time.monotonic() > latest:
                raise RuntimeError("the configuration is not in force")

    def listing(self, *words: str) -> list[str]:
        """Return the command of ipvsadm with these words."""
        return [*POINTSMAN, "ipvsadm", *words]


class Keepalived:
    """keepalived, which writes to the IPVS of the kernel."""

    def __init__(self, conf: Path, log: BinaryIO) -> None:
        files = [str(conf.with_name(f"{letter}.pid")) for letter in "prc"]
        pids = [word for pair in zip(("-p", "-r", "-c"), files, strict=True) for word in pair]
        self.process = _start(["keepalived", "-n", "-f", str(conf), *pids], log, {})

    def wait_in_force(self, last: str, weight: int) -> None:
        """Wait until ipvsadm shows the last service with all real servers."""
        latest = time.monotonic() + PATIENCE
        while not self._has(last, weight):
            if time.monotonic() > latest or self.process.poll() is not None:
                raise RuntimeError(f"keepalived: {last} is not in the table")
            time.sleep(0.02)

    def reload(self, changed: str, weight: int) -> None:
        """Send SIGHUP, and wait until ipvsadm shows the new weight."""
        self.process.send_signal(signal.SIGHUP)
        self.wait_in_force(changed, weight)

    def listing(self, *words: str) -> list[str]:
        """Return the command of ipvsadm with these words."""
        return ["ipvsadm", *words]

    def _has(self, service: str, weight: int) -> bool:
        shown = subprocess.run(
            self.listing("-Ln", "-t", service), check=False, capture_output=True, text=True
        ).stdout
        weights = [line.split()[3] for line in shown.splitlines() if "Route" in line]
        return len(weights) > 1 and str(weight) in weights


def _start(command: list[str], log: BinaryIO, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
    )


def stop(program: Program) -> float:
    """Stop a program in order. Return how many seconds that took."""
    began = time.monotonic()
    program.process.terminate()
    program.process.wait(PATIENCE)
    return time.monotonic() - began


def _family(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{each}/task/{each}/children").read_text().split()
            found += map(int, children)
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and all that come from it."""
    total = 0
    for each in _family(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{each}/schedstat").read_text().split()[0])
    return total / 1e9


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process and all that come from it, in MiB."""
    total = 0
    for each in _family(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
