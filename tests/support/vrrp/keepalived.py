# SPDX-License-Identifier: Apache-2.0
"""Debian's keepalived: as a router on a host, and as a checker of configuration files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from tests.support.until import DEADLINE
from tests.support.vrrp.switch import Host

KEEPALIVED = shutil.which("keepalived") or "/usr/sbin/keepalived"
needs_keepalived = pytest.mark.skipif(not Path(KEEPALIVED).exists(), reason="keepalived is not installed")


def own_files(base: Path) -> list[str]:
    """Return the options that give keepalived pid files of its own.

    All four: it looks into each of them, and "is already running" where a stranger's, or a dead one's, is.
    """
    kinds = {"-p": "pid", "-r": "vrrp", "-c": "checkers", "-b": "bfd"}
    return [word for option, kind in kinds.items() for word in (option, str(base.with_suffix(f".{kind}")))]


class Keepalived:
    """Debian's keepalived on a host."""

    def __init__(self, host: Host, directory: Path, configuration: str, *, punctual: bool = True) -> None:
        """Start it. `punctual`: with real-time priority like ours, so a busy machine does not delay it."""
        base = directory / f"keepalived-{host.name}"
        base.with_suffix(".conf").write_text(configuration)
        self.log = base.with_suffix(".log")
        for left in own_files(base)[1::2]:  # by one that was killed; its number may be another process's now
            Path(left).unlink(missing_ok=True)
        self.process = host.start(
            *(("chrt", "--fifo", "40") if punctual else ()),
            *(KEEPALIVED, "-n", "-l", "-G", "-D", "-P", "-f", str(base.with_suffix(".conf"))),
            *own_files(base),
            log=self.log,
        )

    def state(self) -> str:
        """Return the state that it logged last; empty before the first."""
        lines = [line for line in self.log.read_text().splitlines() if " Entering " in line]
        return lines[-1].split(" Entering ")[1].split()[0] if lines else ""

    def entered(self, state: str) -> int:
        """Return how often it entered a state."""
        return self.log.read_text().count(f"Entering {state} STATE")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)

    def kill(self) -> None:
        """Kill all its processes at once, so that it sends no farewell advert."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


IN_A_NAMESPACE = "ip link set lo up; ip link add eth0 type veth peer name eth1; exec "


def keepalived(
    tmp_path: Path, text: str, *options: str, until: str = "", preload: Path | None = None
) -> tuple[int, str]:
    """Return exit code and output of keepalived for a file, in a network namespace with eth0 and eth1.

    It is stopped when the line `until` has come, at the latest after DEADLINE. It logs to nobody else (-G):
    without a syslog each line would go to the console, which all of them share, and which may stand still.
    `preload`: a library in front of the kernel, such as one that stands in for IPVS.
    """
    file = tmp_path / "keepalived.conf"
    file.write_text(text, newline="")
    command = ["keepalived", "-G", "-f", str(file), "-i", "one", *own_files(file), *options]
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", IN_A_NAMESPACE + '"$@"', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "LD_PRELOAD": str(preload)} if preload else None,
    )
    assert process.stdout is not None
    deadline = threading.Timer(DEADLINE, os.killpg, (process.pid, signal.SIGKILL))
    deadline.start()
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if until and until in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
        return process.wait(), "".join(lines)
    finally:
        deadline.cancel()
        process.stdout.close()
