# SPDX-License-Identifier: Apache-2.0
"""Tracked files and processes, programs and who may change them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from pointsman.daemon.runtime.run_program import CannotRunError, finish_program, run_program, start_program
from pointsman.daemon.runtime.tracked_file import FileNumber, read_number, write_initial_number
from pointsman.daemon.scripts import tracked_process
from pointsman.daemon.scripts.proc_connector import ProcessChange, ProcessEvent
from pointsman.daemon.scripts.tracked_process import (
    ProcessTable,
    ProcessWatch,
    command_line,
    command_lines,
    matches,
)
from pointsman.model.tracking import Command, TrackFile, TrackProcess


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"7\n", 7),
        (b" -12 and more", -12),
        (b"", 0),
        (b"many", 0),
        (b"\xff", 0),
        (b"9" * 500, int("9" * 128)),
    ],
)
def test_the_number_in_a_file(tmp_path: Path, content: bytes, value: int) -> None:
    path = tmp_path / "load"
    path.write_bytes(content)
    assert read_number(TrackFile(name="f", path=str(path))) == FileNumber(value)


def test_a_file_that_is_missing_counts_0_unless_it_is_given_a_number(tmp_path: Path) -> None:
    path = tmp_path / "load"
    tracked = TrackFile(name="f", path=str(path), initial=5)
    assert read_number(tracked).value == 0
    write_initial_number(tracked)
    assert read_number(tracked).value == 5
    path.write_text("6")
    write_initial_number(tracked)
    assert read_number(tracked).value == 6
    write_initial_number(TrackFile(name="f", path=str(path), initial=5, overwrite=True))
    assert read_number(tracked).value == 5


def test_a_fifo_is_not_read_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "load")
    assert read_number(TrackFile(name="f", path=str(path))) == FileNumber(0, "not a regular file")
    assert read_number(TrackFile(name="f", path=str(tmp_path))) == FileNumber(0, "not a regular file")


def test_the_initial_number_is_written_into_a_regular_file_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, link, fifo = (tmp_path / name for name in ("other", "link", "fifo"))
    other.write_text("a program")
    link.symlink_to(other)
    os.mkfifo(fifo)
    for path in (link, fifo):
        write_initial_number(TrackFile(name="f", path=str(path), initial=5, overwrite=True))
    assert other.read_text() == "a program"
    assert len(caplog.records) == 2


LINE = ["nginx", "/usr/sbin/nginx", "-g", "daemon off;"]


@pytest.mark.parametrize(
    ("words", "arguments", "expected"),
    [
        (("nginx",), "exact", True),
        (("/usr/sbin/nginx",), "exact", True),
        (("/sbin/nginx",), "exact", False),
        (("ngin",), "exact", False),
        (("nginx", "-g"), "exact", False),
        (("nginx", "-g", "daemon off;"), "exact", True),
        (("nginx", "-g"), "initial", True),
        (("nginx", "-g", "dae"), "partial", True),
        (("nginx", "-g", "dea"), "partial", False),
        (("nginx", "-g", "daemon off;", "x"), "partial", False),
    ],
)
def test_a_process_is_known_by_its_name_and_arguments(
    words: tuple[str, ...], arguments: str, expected: bool
) -> None:
    assert matches(TrackProcess(name="p", words=words, arguments=arguments), LINE) is expected


def test_a_running_process_is_found_with_its_arguments() -> None:
    with subprocess.Popen(["cat", "-", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)  # it is no longer the one that has started it
        assert list(command_lines()[process.pid]) == ["cat", "cat", "-", "-"]  # its name, and its arguments
        assert command_line(process.pid) == command_lines()[process.pid]
    assert command_line(1 << 30) is None


def test_enough_and_not_too_many_processes_for_long_enough() -> None:
    tracked = TrackProcess(name="p", words=("nginx",), quorum=2, quorum_max=3, terminate_delay=5.0)
    watch = ProcessWatch(tracked)
    looks = [(0, 2), (1, 1), (3, 2), (4, 1), (8, 1), (9, 1), (10, 2), (11, 4), (16, 4)]
    assert [watch.update(now, [LINE] * count) for now, count in looks] == [
        *(True, None, None, None, None),
        *(False, True, None, False),
    ]


def test_events_keep_the_table_of_tracked_processes_right(monkeypatch: pytest.MonkeyPatch) -> None:
    present = {1: ["init", "/sbin/init"], 7: LINE}
    monkeypatch.setattr(tracked_process, "command_lines", lambda: present)
    monkeypatch.setattr(tracked_process, "command_line", present.get)
    table = ProcessTable([TrackProcess(name="p", words=("nginx",))])
    table.scan()
    counts = [len(table.lines)]
    for change, process, parent, line in (
        (ProcessChange.FORK, 8, 7, LINE),
        (ProcessChange.FORK, 9, 1, present[1]),
        (ProcessChange.EXEC, 9, 0, LINE),
        (ProcessChange.EXEC, 8, 0, ["sh", "/bin/sh"]),
        (ProcessChange.COMM, 8, 0, LINE),
        (ProcessChange.EXIT, 7, 0, None),
        (ProcessChange.EXEC, 9, 0, None),
    ):
        present[process] = line  # type: ignore[assignment]
        table.on_event(ProcessEvent(change, process, parent))
        counts.append(len(table.lines))
    assert counts == [1, 2, 2, 3, 2, 3, 2, 1]


def test_a_change_that_is_held_back_has_a_deadline() -> None:
    watch = ProcessWatch(TrackProcess(name="p", words=("nginx",), fork_delay=2.0, terminate_delay=5.0))
    assert watch.update(0.0, []) is False
    assert watch.deadline is None
    assert watch.update(1.0, [LINE]) is None
    assert watch.deadline == 3.0
    assert watch.update(3.0, [LINE]) is True
    assert watch.deadline is None
    assert watch.update(4.0, []) is None
    assert watch.deadline == 9.0


def test_a_program_that_takes_too_long_is_ended() -> None:
    async def run() -> int | None:
        return await run_program(Command(("/bin/sleep", "60")), 0.05)

    assert asyncio.run(run()) is None


def test_a_program_gets_its_arguments_and_those_behind(tmp_path: Path) -> None:
    async def run() -> int | None:
        command = Command(("/bin/sh", "-c", f'echo "$0 $1" > {tmp_path}/said', "own"))
        return await finish_program(await start_program(command, ("more",), user="root"), 10)

    assert asyncio.run(run()) == 0
    assert (tmp_path / "said").read_text() == "own more\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (Command(("/nowhere",)), "cannot run /nowhere: No such file or directory"),
        (Command(("/bin/true",), "nobody-by-this-name"), "no such user or group"),
    ],
)
def test_what_cannot_be_run_is_told(command: Command, text: str) -> None:
    with pytest.raises(CannotRunError, match=text):
        asyncio.run(start_program(command))
