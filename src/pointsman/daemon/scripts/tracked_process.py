# SPDX-License-Identifier: Apache-2.0
"""Find the running processes that are tracked, and compare their number with the quorum."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pointsman.daemon.scripts.proc_connector import ProcessChange, ProcessEvent
from pointsman.model.tracking import TrackProcess


def command_line(process: int) -> list[str] | None:
    """Return the short name (comm) of a process, followed by its command line. None: it has exited."""
    entry = Path("/proc") / str(process)
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        return [(entry / "comm").read_text(errors="replace").rstrip("\n"), *words]
    except OSError:
        return None


def command_lines() -> dict[int, list[str]]:
    """Return the command lines of all running processes, by process id."""
    processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {process: line for process in processes if (line := command_line(process)) is not None}


def matches(tracked: TrackProcess, line: list[str]) -> bool:
    """True if a command line is one of the tracked process."""
    name, *wanted = tracked.words
    comm, *words = line
    program = words[0] if words else comm
    if name not in (program, program.rpartition("/")[2]) and (tracked.full_command or name[:15] != comm):
        return False
    given = words[1:]
    if not wanted and not tracked.full_command:
        return True
    if tracked.arguments == "exact":
        return given == wanted
    if tracked.arguments == "initial" or not wanted:
        return given[: len(wanted)] == wanted
    count = len(wanted) - 1
    return given[:count] == wanted[:-1] and len(given) > count and given[count].startswith(wanted[-1])


class ProcessTable:
    """Table of the running processes that are tracked, with their command lines."""

    def __init__(self, tracked: Sequence[TrackProcess]) -> None:
        self._tracked = tracked
        self._lines: dict[int, list[str]] = {}

    @property
    def lines(self) -> Collection[list[str]]:
        """Command lines of the tracked processes."""
        return self._lines.values()

    def scan(self) -> None:
        """Read all processes again."""
        self._lines = {process: line for process, line in command_lines().items() if self._is_tracked(line)}

    def on_event(self, event: ProcessEvent) -> None:
        """Apply one event of the kernel."""
        match event.change:
            case ProcessChange.FORK if event.parent in self._lines:
                self._lines[event.process] = self._lines[event.parent]
            case ProcessChange.EXIT:
                self._lines.pop(event.process, None)
            case ProcessChange.EXEC | ProcessChange.COMM:
                line = command_line(event.process)
                self._lines.pop(event.process, None)
                if line is not None and self._is_tracked(line):
                    self._lines[event.process] = line

    def _is_tracked(self, line: list[str]) -> bool:
        return any(matches(tracked, line) for tracked in self._tracked)


class ProcessWatch:
    """Verdict on the number of processes. A change is delayed by fork_delay or terminate_delay."""

    def __init__(self, tracked: TrackProcess) -> None:
        self.tracked = tracked
        self._verdict: bool | None = None
        self._changing_since: float | None = None

    @property
    def deadline(self) -> float | None:
        """Time at which a delayed change becomes the verdict. None: no change is delayed."""
        if self._changing_since is None:
            return None
        return self._changing_since + (
            self.tracked.terminate_delay if self._verdict else self.tracked.fork_delay
        )

    def update(self, now: float, lines: Collection[list[str]]) -> bool | None:
        """Return the new verdict: True if the quorum is met. None: it has not changed."""
        count = sum(matches(self.tracked, line) for line in lines)
        maximum = self.tracked.quorum_max
        good = count >= self.tracked.quorum and (maximum is None or count <= maximum)
        if good is self._verdict:
            self._changing_since = None
            return None
        if self._changing_since is None:
            self._changing_since = now
        delay = self.tracked.fork_delay if good else self.tracked.terminate_delay
        if self._verdict is not None and now - self._changing_since < delay:
            return None
        self._verdict, self._changing_since = good, None
        return good
