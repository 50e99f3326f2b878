# SPDX-License-Identifier: Apache-2.0
"""Run one trace on several hosts at once.

A command (ssh) starts `pointsman trace --here` on each host. All of them end when every host has seen the
same connection. Their reports are JSON.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

import msgspec

from pointsman.trace.report import HostReport, rename_host

WAITING, SAW = "waiting for a connection", "saw "
"""Texts on a host's standard error: it is ready, and a connection has started."""
_READY_SECONDS = 60.0
_AFTER_FIRST = 2.0
"""Seconds to wait for the other hosts after the first one saw a connection."""
_END_SECONDS = 60.0


class GroupError(Exception):
    """A host could not be traced. The text says which one and why."""


class _Member:
    """A traced host."""

    def __init__(self, name: str, command: Sequence[str], output: IO[bytes]) -> None:
        self.name = name
        self.output = output
        self.said = b""
        try:
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise GroupError(f"{name}: {command[0]}: {error.strerror}") from error

    @property
    def is_ready(self) -> bool:
        return WAITING.encode() in self.said

    def connections(self) -> set[str]:
        """Return the connections that the host has seen start, in the form of its output."""
        lines = self.said.decode(errors="replace").splitlines()
        return {line.removeprefix(SAW) for line in lines if line.startswith(SAW)}

    def finish(self) -> HostReport:
        """End the host's trace and return its report. Raises GroupError."""
        assert self.child.stdin is not None
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        try:
            self.child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise GroupError(f"{self.name}: it does not end") from error
        self.output.seek(0)
        try:
            document = json.loads(self.output.read())
            return rename_host(msgspec.convert(document["report"], HostReport), self.name)
        except (ValueError, KeyError, TypeError) as error:
            raise GroupError(f"{self.name}: {self.last_line() or error}") from error

    def last_line(self) -> str:
        lines = [line for line in self.said.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def kill(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def gather(
    hosts: Mapping[str, str], words: Sequence[str], seconds: float, waiting: Callable[[], None]
) -> list[HostReport]:
    """Trace on all hosts and return their reports.

    `hosts`: the command that reaches each host by name; empty for this host. `words`: arguments of
    `pointsman trace`. `waiting` is called when all hosts are ready. The trace ends when every host has
    seen the connection, or shortly after the first did, or after `seconds`. Raises GroupError.
    """
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        members = []
        for name, reach in hosts.items():
            output = stack.enter_context(tempfile.TemporaryFile())
            members.append(_Member(name, _command(reach, words), output))
            stack.callback(members[-1].kill)
            selector.register(members[-1].child.stderr or 0, selectors.EVENT_READ, members[-1])
        for _ in _listen(selector, members, _READY_SECONDS):
            if all(member.is_ready for member in members):
                break
        late = [member for member in members if not member.is_ready]
        if late:
            raise GroupError(f"{late[0].name}: not ready: {late[0].last_line() or 'it prints nothing'}")
        early = {item for member in members for item in member.connections()}
        waiting()
        first = 0.0
        for _ in _listen(selector, members, seconds):
            seen = [member.connections() - early for member in members]
            first = first or (time.monotonic() if any(seen) else 0.0)
            if set.intersection(*seen) or (first and time.monotonic() - first > _AFTER_FIRST):
                break
        time.sleep(0.5)  # time for the answer and the end of the handshake
        return [member.finish() for member in members]


def _command(reach: str, words: Sequence[str]) -> list[str]:
    program = ["pointsman"] if reach else [sys.executable, "-m", "pointsman"]
    return [*shlex.split(reach), *program, "trace", "--here", "--until-eof", "--json", *words]


def _listen(selector: selectors.BaseSelector, members: Sequence[_Member], seconds: float) -> Iterator[None]:
    """Read the hosts' standard error repeatedly. Raises GroupError if a host's command ends too early."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended = [member for member in members if member.child.poll() is not None]  # its output is complete
        for key, _ in selector.select(0.1):
            member: _Member = key.data
            assert member.child.stderr is not None
            data = member.child.stderr.read1(65536)  # type: ignore[attr-defined]
            member.said = (member.said + data)[-1 << 20 :]
            if not data:
                selector.unregister(key.fileobj)
        yield
        for member in ended:
            why = f"its command ended too early, with exit code {member.child.returncode}"
            raise GroupError(f"{member.name}: {member.last_line() or why}")
