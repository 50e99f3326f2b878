"""What tracked files and processes are like at present: looked at, again and again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from pointsman.daemon.scripts.proc_connector import ProcessChange, ProcessEvent
from pointsman.model.tracking import TrackFile, TrackProcess

LARGEST_FILE = 128
"""Bytes read of a tracked file; it holds one number."""

log = logging.getLogger("scripts")


def prepare(tracked: TrackFile) -> None:
    """Give a tracked file its initial number, where it is wanted (init_file)."""
    path = Path(tracked.path)
    if tracked.initial is not None and (tracked.overwrite or not path.exists()):
        try:
            path.write_text(f"{tracked.initial}\n")
        except OSError as error:
            log.error("tracked file %s: cannot write %s: %s", tracked.name, path, error.strerror)


def file_value(tracked: TrackFile) -> int:
    """The number in a tracked file; 0 when there is no such file or no number in it, as in keepalived."""
    try:
        with Path(tracked.path).open("rb") as opened:
            return int(opened.read(LARGEST_FILE).split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def command_line(process: int) -> list[str] | None:
    """The words of a running process, with its short name (comm) in front; None: it is gone."""
    entry = Path("/proc") / str(process)
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        return [(entry / "comm").read_text(errors="replace").rstrip("\n"), *words]
    except OSError:
        return None


def command_lines() -> dict[int, list[str]]:
    """Those of every running process."""
    processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {process: line for process in processes if (line := command_line(process)) is not None}


def matches(tracked: TrackProcess, line: list[str]) -> bool:
    """Whether a process is one of those that are tracked."""
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
    """The running processes of which one or another is tracked."""

    def __init__(self, tracked: Sequence[TrackProcess]) -> None:
        self._tracked = tracked
        self._lines: dict[int, list[str]] = {}

    @property
    def lines(self) -> Collection[list[str]]:
        """Their command lines."""
        return self._lines.values()

    def look(self) -> None:
        """See all processes anew."""
        self._lines = {process: line for process, line in command_lines().items() if self._counts(line)}

    def follow(self, event: ProcessEvent) -> None:
        """Something has happened to one of them."""
        match event.change:
            case ProcessChange.STARTED if event.parent in self._lines:
                self._lines[event.process] = self._lines[event.parent]
            case ProcessChange.ENDED:
                self._lines.pop(event.process, None)
            case ProcessChange.BECAME | ProcessChange.RENAMED:
                line = command_line(event.process)
                self._lines.pop(event.process, None)
                if line is not None and self._counts(line):
                    self._lines[event.process] = line

    def _counts(self, line: list[str]) -> bool:
        return any(matches(tracked, line) for tracked in self._tracked)


class ProcessWatch:
    """Counts processes, and holds a change back for fork_delay or terminate_delay."""

    def __init__(self, tracked: TrackProcess) -> None:
        self.tracked = tracked
        self._verdict: bool | None = None
        self._changing_since: float | None = None

    @property
    def deadline(self) -> float | None:
        """When a change that is held back will be the verdict; None: there is none."""
        if self._changing_since is None:
            return None
        return self._changing_since + (
            self.tracked.terminate_delay if self._verdict else self.tracked.fork_delay
        )

    def look(self, now: float, lines: Collection[list[str]]) -> bool | None:
        """The new verdict, or None when it has not changed."""
        count = sum(matches(self.tracked, line) for line in lines)
        most = self.tracked.quorum_max
        good = count >= self.tracked.quorum and (most is None or count <= most)
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
