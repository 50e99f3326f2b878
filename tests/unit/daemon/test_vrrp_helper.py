"""Tracked files and processes, programs and who may change them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pointsman.daemon import programs
from pointsman.daemon.vrrp_watches import ProcessWatch, command_lines, file_value, matches, prepare
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
    assert file_value(TrackFile(name="f", path=str(path))) == value


def test_a_file_that_is_missing_counts_0_unless_it_is_given_a_number(tmp_path: Path) -> None:
    path = tmp_path / "load"
    tracked = TrackFile(name="f", path=str(path), initial=5)
    assert file_value(tracked) == 0
    prepare(tracked)
    assert file_value(tracked) == 5
    path.write_text("6")
    prepare(tracked)
    assert file_value(tracked) == 6
    prepare(TrackFile(name="f", path=str(path), initial=5, overwrite=True))
    assert file_value(tracked) == 5


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


def test_this_very_process_is_found() -> None:
    assert any("pytest" in " ".join(line) for line in command_lines())


def test_enough_and_not_too_many_processes_for_long_enough() -> None:
    tracked = TrackProcess(name="p", words=("nginx",), quorum=2, quorum_max=3, terminate_delay=5.0)
    watch = ProcessWatch(tracked)
    looks = [(0, 2), (1, 1), (3, 2), (4, 1), (8, 1), (9, 1), (10, 2), (11, 4), (16, 4)]
    assert [watch.look(now, [LINE] * count) for now, count in looks] == [
        *(True, None, None, None, None),
        *(False, True, None, False),
    ]


def test_a_program_that_takes_too_long_is_ended() -> None:
    async def run() -> int | None:
        return await programs.finish(await programs.start(Command(("/bin/sleep", "60"))), 0.05)

    assert asyncio.run(run()) is None


def test_a_program_gets_its_arguments_and_those_behind(tmp_path: Path) -> None:
    async def run() -> int | None:
        command = Command(("/bin/sh", "-c", f'echo "$0 $1" > {tmp_path}/said', "own"))
        return await programs.finish(await programs.start(command, ("more",), user="root"), 10)

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
    with pytest.raises(programs.CannotRunError, match=text):
        asyncio.run(programs.start(command))


def test_a_program_that_others_can_change_is_insecure(tmp_path: Path) -> None:
    assert programs.why_insecure(Path("/bin/true")) == ""
    tmp_path.chmod(0o755)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o775)
    assert programs.why_insecure(program) == f"{program} can be written by others"
    program.chmod(0o755)
    tmp_path.chmod(0o777)
    assert programs.why_insecure(program) == f"{tmp_path} can be written by others"
