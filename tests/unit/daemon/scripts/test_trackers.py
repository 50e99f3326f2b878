# SPDX-License-Identifier: Apache-2.0
"""Tracked scripts that cannot be executed, and files that cannot be read."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pointsman.control.vrrp_messages import TrackerValue
from pointsman.daemon.runtime import tracked_file
from pointsman.daemon.runtime.run_program import CannotRunError, InsecureProgramError, NoResourcesError
from pointsman.daemon.runtime.tracked_file import FileNumber
from pointsman.daemon.scripts import trackers as trackers_module
from pointsman.daemon.scripts.problems import Problems
from pointsman.daemon.scripts.trackers import Trackers
from pointsman.model.tracking import Command, TrackFile, TrackScript, VrrpSurroundings

SCRIPT = TrackScript(name="chk", command=Command(("/chk",)), interval=0.001)
SETTINGS = VrrpSurroundings(scripts=(SCRIPT,))
ENOUGH = 20.0


class Story:
    """Trackers whose program has these results, one for each run; the last one again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *results: int | CannotRunError) -> None:
        self.values: list[int | None] = []
        self.problems: list[tuple[str, ...]] = []
        self.runs = 0
        self._results = results
        monkeypatch.setattr(trackers_module, "run_program", self._run)
        problems = Problems()
        problems.report_to(self.problems.append)
        self.trackers = Trackers(self._on_value, problems)

    def _on_value(self, value: TrackerValue) -> None:
        self.values.append(value.value)

    async def _run(self, *_arguments: object, **_settings: object) -> int:
        result = self._results[min(self.runs, len(self._results) - 1)]
        self.runs += 1
        if isinstance(result, CannotRunError):
            raise result
        return result

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(ENOUGH):
            while not condition():
                await asyncio.sleep(0.001)


def test_a_script_that_cannot_be_executed_has_failed_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = CannotRunError("cannot run /chk: No such file or directory")
    story = Story(monkeypatch, 0, gone, gone, gone, 0)

    async def body() -> None:
        story.trackers.start(SETTINGS)
        await story.until(lambda: len(story.values) == 3)
        await story.trackers.stop()

    asyncio.run(body())
    text = "vrrp_script chk has failed: cannot run /chk: No such file or directory"
    assert story.values == [1, 0, 1]
    assert story.problems == [(), (text,), ()]
    assert caplog.messages.count(text) == 1


def test_a_script_that_cannot_be_executed_needs_as_many_failures_as_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story(monkeypatch, 0, CannotRunError("text busy"), 0)
    patient = msgspec.structs.replace(SCRIPT, fall=2)

    async def body() -> None:
        story.trackers.start(VrrpSurroundings(scripts=(patient,)))
        await story.until(lambda: story.runs > 5)
        await story.trackers.stop()

    asyncio.run(body())
    assert story.values == [1]


def test_a_host_without_resources_says_nothing_about_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, 0, NoResourcesError("cannot run /chk: Too many open files"), 0)

    async def body() -> None:
        story.trackers.start(SETTINGS)
        await story.until(lambda: len(story.problems) == 3)
        await story.trackers.stop()

    asyncio.run(body())
    assert story.values == [1]
    assert story.problems[1] == (
        "vrrp_script chk keeps its last result: cannot run /chk: Too many open files",
    )


def test_an_insecure_script_is_disabled_until_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, 0, InsecureProgramError("/chk is owned by user 7"), 0)

    async def body() -> None:
        story.trackers.start(SETTINGS)
        await story.until(lambda: story.values == [1, None])
        await asyncio.sleep(0)
        assert story.runs == 2
        assert story.problems[-1] == ("vrrp_script chk is disabled until a reload: /chk is owned by user 7",)
        story.trackers.start_disabled()
        await story.until(lambda: story.values == [1, None, 1])
        await story.trackers.stop()

    asyncio.run(body())
    assert story.problems[-1] == ()


def test_a_file_system_that_never_answers_stops_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    end, threads = threading.Event(), threading.active_count()
    dead, alive = (TrackFile(name=name, path=str(tmp_path / name)) for name in ("dead", "alive"))
    (tmp_path / "alive").write_text("7")
    read = tracked_file.read_number

    def hang(tracked: TrackFile) -> FileNumber:
        if tracked == dead:
            end.wait(60)
        return read(tracked)

    monkeypatch.setattr(tracked_file, "read_number", hang)
    monkeypatch.setattr(tracked_file, "PATIENCE", 0.1)
    monkeypatch.setattr(trackers_module, "FILE_INTERVAL", 0.001)
    story = Story(monkeypatch, 0)
    text = f"track_file dead: {dead.path}: its file system does not answer; the last number stays"

    async def body() -> None:
        story.trackers.start(VrrpSurroundings(files=(dead, alive)))
        await story.until(lambda: story.values == [7] and text in story.problems[-1])
        await asyncio.sleep(0.3)
        assert threading.active_count() <= threads + 2, "it is asked once only"
        end.set()
        await story.until(lambda: story.values == [7, 0] and story.problems[-1] == ())
        await story.trackers.stop()

    asyncio.run(body())


def test_a_file_that_is_no_file_counts_as_0_and_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    os.mkfifo(path := tmp_path / "fifo")
    story = Story(monkeypatch, 0)

    async def body() -> None:
        tracked = TrackFile(name="f", path=str(path))
        story.trackers.start(msgspec.structs.replace(SETTINGS, files=(tracked,)))
        await story.until(lambda: sorted(map(str, story.values)) == ["0", "1"])
        assert story.problems[-1] == (f"track_file f: {path} counts as 0: not a regular file",)
        path.unlink()
        path.write_text("7")
        await story.until(lambda: story.values[-1] == 7)
        await story.trackers.stop()

    asyncio.run(body())
    assert story.problems[-1] == ()
