# SPDX-License-Identifier: Apache-2.0
"""Notify FIFOs under reloads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.daemon.runtime.run_program import CannotRunError, InsecureProgramError, start_program
from pointsman.daemon.scripts import fifo as fifo_module
from pointsman.daemon.scripts.fifo import Fifos
from pointsman.daemon.scripts.problems import Problems
from pointsman.model.tracking import Command, NotifyFifo


def test_reloads_that_come_faster_than_readers_end(tmp_path: Path) -> None:
    reader = Command(("/bin/sleep", "60"))
    first, second = (
        NotifyFifo(word=word, path=str(tmp_path / word), reader=reader)
        for word in ("notify_fifo", "lvs_notify_fifo")
    )

    async def start(command: Command) -> asyncio.subprocess.Process:
        return await start_program(Command(command.words[:-1]))  # sleep(1) wants no path

    async def body() -> None:
        fifos = Fifos(start, Problems())
        await fifos.reconfigure([first, second])
        await asyncio.sleep(0)
        await asyncio.gather(fifos.reconfigure([]), fifos.reconfigure([second]), fifos.reconfigure([]))
        assert list(tmp_path.iterdir()) == []
        await fifos.reconfigure([first])
        fifos.write("still there", [first])
        assert [path.name for path in tmp_path.iterdir()] == ["notify_fifo"]
        await fifos.close()

    asyncio.run(body())
    assert list(tmp_path.iterdir()) == []


class Readers:
    """Starts of a reader, and the pauses between them. Each reader ends at once."""

    def __init__(self, *errors: CannotRunError) -> None:
        self.problems: list[tuple[str, ...]] = []
        self.pauses: list[float] = []
        self.errors = list(errors)
        self.starts = 0

    async def start(self, command: Command) -> asyncio.subprocess.Process:
        self.starts += 1
        if self.errors:
            raise self.errors.pop(0)
        return await start_program(Command(("/bin/false",)))

    async def run(self, fifo: NotifyFifo, until: Callable[[], bool], reloads: int = 0) -> Fifos:
        problems = Problems()
        problems.report_to(self.problems.append)
        fifos = Fifos(self.start, problems)
        for _ in range(reloads + 1):
            await fifos.reconfigure([fifo])
            async with asyncio.timeout(20):
                while not until():
                    await asyncio.sleep(0.001)
        return fifos


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fifo_module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(fifo_module, "LONGEST_PAUSE", 0.004)


@pytest.mark.usefixtures("quick")
def test_a_reader_that_keeps_ending_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fifo = NotifyFifo(word="notify_fifo", path=str(tmp_path / "fifo"), reader=Command(("/reader",)))
    readers = Readers(CannotRunError("cannot run /reader: No such file or directory"))

    async def body() -> None:
        await (await readers.run(fifo, lambda: readers.starts == 5)).close()

    asyncio.run(body())
    gone = "notify_fifo_script does not run: cannot run /reader: No such file or directory"
    ends = "notify_fifo_script /reader ended with code 1; it is started again and again"
    assert [record.message for record in caplog.records if record.name == "scripts"] == [gone, ends]
    assert (ends,) in readers.problems


@pytest.mark.usefixtures("quick")
def test_an_insecure_reader_is_started_again_by_a_reload_only(tmp_path: Path) -> None:
    fifo = NotifyFifo(word="notify_fifo", path=str(tmp_path / "fifo"), reader=Command(("/reader",)))
    readers = Readers(*(InsecureProgramError("/reader is owned by user 7") for _ in range(2)))

    async def body() -> None:
        fifos = await readers.run(fifo, lambda: len(readers.problems) > 1)
        assert readers.starts == 1
        assert readers.problems[-1] == (
            "notify_fifo_script is disabled until a reload: /reader is owned by user 7",
        )
        await asyncio.sleep(0)
        await fifos.reconfigure([fifo])
        async with asyncio.timeout(20):
            while readers.starts < 2:
                await asyncio.sleep(0.001)
        await fifos.close()

    asyncio.run(body())


def test_a_path_that_is_no_fifo_is_never_written(tmp_path: Path) -> None:
    program, link, fifo_behind = (tmp_path / name for name in ("program", "link", "fifo_behind"))
    program.write_text("#!/bin/sh\n")
    os.mkfifo(fifo_behind)
    link.symlink_to(fifo_behind)
    fifos = [NotifyFifo(word="notify_fifo", path=str(path)) for path in (program, link)]
    readers, problems = Readers(), Problems()
    problems.report_to(readers.problems.append)

    async def body() -> None:
        opened = Fifos(readers.start, problems)
        await opened.reconfigure(fifos)
        opened.write("a line", fifos)
        await opened.close()

    asyncio.run(body())
    assert program.read_text() == "#!/bin/sh\n"
    assert readers.problems[-1] == (
        f"notify_fifo {program} is not written: it exists and is not a FIFO",
        f"notify_fifo {link} is not written: Too many levels of symbolic links",
    )


def test_a_file_that_has_taken_the_place_of_the_fifo_stays(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    fifo = NotifyFifo(word="notify_fifo", path=str(path))

    async def body() -> None:
        fifos = Fifos(Readers().start, Problems())
        await fifos.reconfigure([fifo])
        path.unlink()
        path.write_text("not ours")
        await fifos.close()

    asyncio.run(body())
    assert path.read_text() == "not ours"
