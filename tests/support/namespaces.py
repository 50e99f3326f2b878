# SPDX-License-Identifier: Apache-2.0
"""Network namespaces as hosts in which tests run commands."""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.until import DEADLINE, until

from pointsman.lab import namespace

_numbers = itertools.count(1)


class _Made:
    """A resource that `with` creates, and removes at the end."""

    def make(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Namespace(_Made):
    """A host with its loopback up; no other test run uses its name."""

    def __init__(self, stem: str, name: str = "") -> None:
        self.name = name or f"pmt-{stem}-{os.getpid()}-{next(_numbers)}"

    def make(self) -> None:
        """Create the namespace. The caller must call `close` in any case."""
        namespace.create(self.name)
        # Nobody else is there: link-local addresses need not wait until they have looked for each other.
        self.sysctl("net.ipv6.conf.default.accept_dad=0")
        self.ip("link set lo up")

    def close(self) -> None:
        """Remove the namespace if it exists."""
        namespace.delete(self.name)

    def entered(self) -> AbstractContextManager[None]:
        """Move the calling thread into the namespace."""
        return namespace.entered(self.name)

    def command(self, *words: str) -> list[str]:
        """Return the words of a command that runs in here; it sees this machine's pins and mounts."""
        return ["nsenter", f"--net={namespace.path(self.name)}", *words]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    def run(self, command: str) -> str:
        """Run a command without quotes, which must not fail; return what it prints."""
        return self._good(command, self.call(*command.split()))

    def sh(self, script: str) -> str:
        """Run a script, which must not fail; return what it prints."""
        return self._good(script, self.call("sh", "-euc", script))

    def ip(self, *lines: str) -> None:
        """Carry out these lines of ip(8), in order, by one process, since processes are slow in a guest."""
        done = subprocess.run(
            self.command("ip", "-batch", "-"),
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self._good("; ".join(lines), done)

    def sysctl(self, *settings: str) -> None:
        """Set sysctls, each as `NAME=VALUE`."""
        with self.entered():
            for setting in settings:
                name, _, value = setting.partition("=")
                (Path("/proc/sys") / name.replace(".", "/")).write_text(value)

    def settle(self) -> None:
        """Wait until the kernel is done with links that were set up, which it is some time after ip(8) is.

        Each has its carrier and shows it, and no address is looked for elsewhere: a snapshot stays as it is.
        """
        until("every link that is up has its carrier and its addresses", self._is_settled)

    def _is_settled(self) -> bool:
        links = [
            line for line in self.run("ip -o link").splitlines() if ",UP" in line and ": lo:" not in line
        ]
        own = sum("NOARP" not in line for line in links)  # with a link-local address of its own
        found = self.run("ip -o -6 address show scope link")
        return (
            all(" state UP " in line for line in links)
            and len(found.splitlines()) >= own
            and "tentative" not in found
        )

    def _good(self, command: str, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, f"{self.name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout


class Namespaces(_Made):
    """Hosts by role. Every method takes a role or the name of a namespace."""

    def __init__(self, stem: str, *roles: str) -> None:
        self.hosts = {role: Namespace(stem, f"pmt-{stem}-{os.getpid()}-{role}") for role in roles}
        self.names = {role: host.name for role, host in self.hosts.items()}
        self._named = self.hosts | {host.name: host for host in self.hosts.values()}

    def make(self) -> None:
        """Create all namespaces. The caller must call `close` in any case."""
        for host in self.hosts.values():
            host.make()

    def close(self) -> None:
        """Remove the namespaces that exist."""
        for host in self.hosts.values():
            host.close()

    def entered(self, host: str) -> AbstractContextManager[None]:
        """Move the calling thread to a host."""
        return self._named[host].entered()

    def command(self, host: str, *words: str) -> list[str]:
        """Return the words of a command that runs on a host."""
        return self._named[host].command(*words)

    def call(self, host: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return self._named[host].call(*words)

    def run(self, host: str, command: str) -> str:
        """Run a command without quotes, which must not fail; return what it prints."""
        return self._named[host].run(command)

    def sh(self, host: str, script: str) -> str:
        """Run a script, which must not fail; return what it prints."""
        return self._named[host].sh(script)

    def ip(self, host: str, *lines: str) -> None:
        """Carry out these lines of ip(8), in order."""
        self._named[host].ip(*lines)

    def sysctl(self, host: str, *settings: str) -> None:
        """Set sysctls, each as `NAME=VALUE`."""
        self._named[host].sysctl(*settings)
