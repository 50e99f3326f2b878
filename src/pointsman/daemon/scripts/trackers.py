# SPDX-License-Identifier: Apache-2.0
"""Trackers of VRRP: run scripts, read files, follow processes, and report values that have changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence

from pointsman.control.vrrp_messages import TrackerValue
from pointsman.daemon.runtime.run_program import (
    CannotRunError,
    InsecureProgramError,
    NoResourcesError,
    run_program,
)
from pointsman.daemon.runtime.tracked_file import NumberReader, write_initial_number
from pointsman.daemon.scripts.problems import Problems
from pointsman.daemon.scripts.proc_connector import ProcessEvents
from pointsman.daemon.scripts.tracked_process import ProcessTable, ProcessWatch
from pointsman.model.tracking import TrackFile, TrackKind, TrackProcess, TrackScript, VrrpSurroundings
from pointsman.net.netlink import NetlinkOverrunError
from pointsman.vrrp.rise_fall import RiseFall

log = logging.getLogger("scripts")

FILE_INTERVAL = 0.2
"""Seconds between two reads of the tracked files."""
PROCESS_INTERVAL = 1.0
"""Seconds between two scans of all processes, if the kernel sends no events."""


class Trackers:
    """All trackers of a configuration. They call `report` with each first value and each change."""

    def __init__(self, report: Callable[[TrackerValue], None], problems: Problems) -> None:
        self._report = report
        self._problems = problems
        self._files = NumberReader()
        self._values: dict[tuple[TrackKind, str], int | None] = {}
        self._settings = VrrpSurroundings()
        self._scripts: dict[str, asyncio.Task[None]] = {}
        """Tasks of the scripts, by name. That of a disabled script has ended."""
        self._others: list[asyncio.Task[None]] = []

    def start(self, settings: VrrpSurroundings) -> None:
        """Start the trackers of these settings on the running event loop."""
        self._settings = settings
        self.start_disabled()
        work: list[Coroutine[None, None, None]] = [self._watch_file(tracked) for tracked in settings.files]
        work.append(self._watch_processes(settings.processes))
        self._others = [asyncio.create_task(each) for each in work]

    def start_disabled(self) -> None:
        """Start the scripts that do not run: all of them at first, later those that are disabled."""
        for script in self._settings.scripts:
            if script.name not in self._scripts or self._scripts[script.name].done():
                self._scripts[script.name] = asyncio.create_task(self._watch_script(script, self._settings))

    async def stop(self) -> None:
        """Stop all trackers and forget all values. Scripts that run are ended."""
        tasks = [*self._scripts.values(), *self._others]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._scripts, self._others = {}, []
        self._values.clear()
        self._problems.keep_only(tuple, ())

    def report_all(self) -> None:
        """Report every value again."""
        for (kind, name), value in self._values.items():
            self._report(TrackerValue(kind, name, value))

    def _on_value(self, kind: TrackKind, name: str, value: int | None) -> None:
        if (kind, name) not in self._values or self._values[kind, name] != value:
            self._values[kind, name] = value
            log.info("tracked %s %s: %s", kind.value, name, "disabled" if value is None else value)
            self._report(TrackerValue(kind, name, value))

    async def _watch_script(self, script: TrackScript, settings: VrrpSurroundings) -> None:
        """Run a tracked script every interval, until it is insecure. It never runs twice at the same time.

        A script that cannot be executed has failed, as in keepalived, and is tried again.
        """
        key = (TrackKind.SCRIPT, script.name)
        counter = RiseFall(script.rise, script.fall, script.init_fail)
        while True:
            began = time.monotonic()
            try:
                code = await run_program(
                    script.command,
                    script.timeout,
                    user=settings.script_user,
                    group=settings.script_group,
                    security=settings.script_security,
                )
            except InsecureProgramError as problem:
                self._problems.set(key, f"vrrp_script {script.name} is disabled until a reload: {problem}")
                self._on_value(*key, None)
                return
            except NoResourcesError as problem:
                self._problems.set(key, f"vrrp_script {script.name} keeps its last result: {problem}")
            except CannotRunError as problem:
                self._problems.set(key, f"vrrp_script {script.name} has failed: {problem}")
                self._on_result(key, counter.result(good=False))
            else:
                self._problems.forget(key)
                self._on_result(key, counter.result(code == 0))
            await asyncio.sleep(max(0.0, began + script.interval - time.monotonic()))

    def _on_result(self, key: tuple[TrackKind, str], verdict: bool | None) -> None:
        if verdict is not None:
            self._on_value(*key, int(verdict))

    async def _watch_file(self, tracked: TrackFile) -> None:
        write_initial_number(tracked)
        while True:
            await self._read_file(tracked)
            await asyncio.sleep(FILE_INTERVAL)

    async def _read_file(self, tracked: TrackFile) -> None:
        key, name = (TrackKind.FILE, tracked.name), f"track_file {tracked.name}: {tracked.path}"
        try:
            value, problem = await self._files.read(tracked)
        except TimeoutError:
            self._problems.set(key, f"{name}: its file system does not answer; the last number stays")
            return
        if problem:
            self._problems.set(key, f"{name} counts as 0: {problem}")
        else:
            self._problems.forget(key)
        self._on_value(*key, value)

    async def _watch_processes(self, tracked: Sequence[TrackProcess]) -> None:
        """Follow the kernel's process events. If there are none, scan all processes at an interval."""
        if not tracked:
            return
        table, watches = ProcessTable(tracked), [ProcessWatch(each) for each in tracked]
        try:
            events = ProcessEvents()
        except OSError as error:
            log.info(
                "no process events (%s): processes are scanned every %g s", error.strerror, PROCESS_INTERVAL
            )
            while True:
                table.scan()
                self._report_changes(watches, table)
                await asyncio.sleep(PROCESS_INTERVAL)
        table.scan()
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(events, readable.set)
        try:
            while True:
                delay = self._report_changes(watches, table)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):  # wait_for can swallow a cancellation
                        await readable.wait()
                readable.clear()
                _apply_events(events, table)
        finally:
            loop.remove_reader(events)
            events.close()

    def _report_changes(self, watches: Sequence[ProcessWatch], table: ProcessTable) -> float | None:
        """Report changed values. Return the seconds until a delayed change is due, or None."""
        now = time.monotonic()
        for watch in watches:
            verdict = watch.update(now, table.lines)
            if verdict is not None:
                self._on_value(TrackKind.PROCESS, watch.tracked.name, int(verdict))
        deadlines = (watch.deadline for watch in watches)
        first = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if first is None else max(0.0, first - now)


def _apply_events(events: ProcessEvents, table: ProcessTable) -> None:
    try:
        for event in events.read():
            table.on_event(event)
    except NetlinkOverrunError:
        log.info("process events were lost: scanning all processes")
        table.scan()
