# SPDX-License-Identifier: Apache-2.0
"""One host of a lab: run commands in it, open sockets in it, switch it off and on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pointsman.control import paths
from pointsman.lab import namespace, network, processes
from pointsman.lab.errors import LabError
from pointsman.lab.topologies.topology import NodeSpec

RUN_DIRECTORY = paths.RUN_DIRECTORY
PIN_DIRECTORY = paths.PIN_DIRECTORY


def environment() -> dict[str, str]:
    """Return the environment of lab commands: `pointsman` and `python3` are those of this installation.

    Commands write to files and not to the journal, so that their log lines have dates.
    """
    here = str(Path(sys.executable).parent)
    inherited = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    return inherited | {"PATH": f"{here}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"}


class Node:
    """A running node. `run`, `popen`, `socket` and `entered` act in its namespace."""

    def __init__(self, spec: NodeSpec, prefix: str, log_directory: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.namespace = f"{prefix}-{spec.name}"
        self.children: list[subprocess.Popen[bytes]] = []
        self._prefix = prefix
        self._logs = log_directory

    @property
    def up(self) -> bool:
        """True if its namespace exists."""
        return namespace.exists(self.namespace)

    @property
    def inode(self) -> int:
        """Inode number of its namespace."""
        return namespace.inode(self.namespace)

    @property
    def run_directory(self) -> Path:
        """Run-time directory of Pointsman's daemons in this node."""
        with self.entered():
            return RUN_DIRECTORY / paths.namespace_name()

    def entered(self) -> contextlib.AbstractContextManager[None]:
        """Move the calling thread into the node for a `with` block.

        Raises LabError if the lab is not up.
        """
        if not self.up:
            raise LabError(f"{self.name} is not up: the namespace {self.namespace} does not exist")
        return namespace.entered(self.namespace)

    def socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0
    ) -> socket.socket:
        """Open a socket in the node. It stays there, whichever thread uses it."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and return its output as text.

        Raises LabError if the command cannot be started, takes longer than `timeout` seconds, or (with
        `check`) fails. The text contains its output.
        """
        with self.entered():
            try:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    timeout=timeout,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    check=False,
                    start_new_session=True,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise LabError(f"{self.name}: {' '.join(command)}: {error}") from error
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(command)}: exit code {done.returncode}: {said}")
        return done

    def popen(
        self,
        command: Sequence[str],
        *,
        log: str = "",
        directory: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the background. Its output is appended to the node's log of that name.

        The command has its own session, so that Ctrl-C on the terminal does not reach it. Raises LabError
        if it cannot be started.
        """
        with self.entered(), self._open_log(log or Path(command[0]).name) as output:
            try:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment() | dict(variables or {}),
                    cwd=directory,
                    start_new_session=True,
                )
            except OSError as error:
                raise LabError(f"{self.name}: {' '.join(command)}: {error}") from error
        self.children.append(child)
        return child

    def log(self, name: str) -> Path:
        """Return the file with the output of the command that has this log name."""
        return self._logs / f"{self.name}-{name}.log"

    def addresses(self, interface: str) -> list[str]:
        """Return the current IPv4 addresses of an interface with prefix length."""
        return network.addresses_of(self.namespace, interface)

    def set_link(self, interface: str, up: bool) -> None:
        network.set_link(self.namespace, interface, up)

    def sysctl(self, key: str, value: str) -> None:
        """Set a sysctl such as `net.ipv4.conf.all.arp_ignore`. Raises OSError."""
        with self.entered():
            (Path("/proc/sys") / key.replace(".", "/")).write_text(value)

    def processes(self) -> dict[int, str]:
        """Return process ids and command lines of all processes in the node."""
        return processes.find_processes([self.inode])

    def kill(self) -> None:
        """Kill all processes in the node (SIGKILL). Raises LabError if some do not end."""
        if not processes.kill([self.inode]):
            raise LabError(f"{self.name}: these processes do not end: {self.processes()}")
        self.reap()

    def power_off(self) -> None:
        """Simulate a power failure: all processes and links stop at the same moment.

        The processes get SIGSTOP first, so that none of them can react and send a last advert.
        """
        processes.send([self.inode], signal.SIGSTOP)
        for interface in self.spec.interfaces:
            self.set_link(interface.name, up=False)
        self.kill()
        for interface in self.spec.interfaces:
            network.flush(self.namespace, interface.name)

    def power_on(self) -> None:
        """Simulate a boot: only the node's own addresses, and no run-time state."""
        forget(self.inode)
        network.configure(self.spec, self._prefix)

    def reap(self) -> None:
        """Collect the children that have ended."""
        self.children = [child for child in self.children if child.poll() is None]

    def _open_log(self, name: str) -> IO[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self.log(name).open("ab")


def forget(inode: int) -> None:
    """Remove the pins and run-time files of the director or real server of a namespace."""
    for place in paths.namespace_directories(inode):
        shutil.rmtree(place, ignore_errors=True)
