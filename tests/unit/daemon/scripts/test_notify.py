# SPDX-License-Identifier: Apache-2.0
"""Order, parallelism and bounds of notify programs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from pointsman.control.vrrp_messages import LOWER_PRIORITY, NotifyEvent
from pointsman.daemon.scripts import notify
from pointsman.daemon.scripts.notify import Lanes, VrrpNotifier
from pointsman.model.tracking import Command


class Programs:
    """Programs that run until they are told to end."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def run(self, name: str) -> None:
        self.started.append(name)
        await self._ends.setdefault(name, asyncio.Event()).wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends.setdefault(name, asyncio.Event()).set()
        await settle()

    def work(self, name: str) -> Callable[[], Any]:
        return lambda: self.run(name)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(body: Callable[[Programs], Awaitable[None]]) -> None:
    async def inner() -> None:
        await body(Programs())

    asyncio.run(inner())


def test_one_owner_in_order_several_in_parallel() -> None:
    async def body(programs: Programs) -> None:
        lanes = Lanes()
        for owner, kind in (("a", "down"), ("a", "up"), ("b", "down")):
            lanes.put(owner, kind, "", programs.work(f"{owner} {kind}"))
        await settle()
        assert programs.started == ["a down", "b down"]
        await programs.end("a down")
        assert programs.started == ["a down", "b down", "a up"]
        await programs.end("b down", "a up")
        lanes.put("a", "down", "", programs.work("again"))
        await settle()
        assert programs.started[-1] == "again"
        await lanes.cancel()

    run(body)


def test_stale_work_that_waits_is_dropped_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body(programs: Programs) -> None:
        lanes = Lanes()
        for number, kind in enumerate(["MASTER", "BACKUP", "MASTER", "BACKUP", "FAULT", "BACKUP"]):
            lanes.put("a", kind, f"a {kind}", programs.work(f"{kind} {number}"))
        await programs.end("MASTER 0", "MASTER 2", "FAULT 4", "BACKUP 5")
        assert programs.started == ["MASTER 0", "MASTER 2", "FAULT 4", "BACKUP 5"]

    run(body)
    assert caplog.messages == ["a BACKUP has come again before its program could run: it runs once"]


def test_no_more_programs_at_a_time_than_the_limit() -> None:
    async def body(programs: Programs) -> None:
        lanes = Lanes(most=2)
        for number in range(4):
            lanes.put(number, "down", "", programs.work(str(number)))
        await settle()
        assert programs.started == ["0", "1"]
        await programs.end("1")
        assert programs.started == ["0", "1", "2"]
        await lanes.cancel()
        assert programs.started == ["0", "1", "2"]

    run(body)


def test_slow_scripts_about_a_lower_priority_do_not_delay_a_fault() -> None:
    class Process:
        returncode = None

        def __init__(self, running: Awaitable[None]) -> None:
            self._running = running

        async def wait(self) -> int:
            await self._running
            return 0

    async def body(programs: Programs) -> None:
        async def start(command: Command, _arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
            return cast(asyncio.subprocess.Process, Process(programs.run(command.words[0])))

        notifier = VrrpNotifier(start)
        for _ in range(200):
            notifier.put(NotifyEvent("INSTANCE", "V1", LOWER_PRIORITY, 150, (Command(("lower",)),)))
        notifier.put(NotifyEvent("INSTANCE", "V1", "FAULT", 150, (Command(("fault",)),)))
        await settle()
        assert programs.started == ["lower", "fault"]
        await programs.end("lower", "fault")
        assert programs.started == ["lower", "fault", "lower"]
        await notifier.finish()

    run(body)


def test_scripts_that_never_end_are_not_left_behind_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "VRRP_TIMEOUT", 0.0)
    monkeypatch.setattr(notify, "MAX_LEFT_BEHIND", 2)
    ended: list[object] = []

    async def end(process: object) -> None:
        ended.append(process)

    monkeypatch.setattr(notify, "end_program", end)

    class Process:
        returncode = None

        async def wait(self) -> int:
            await asyncio.Event().wait()
            return 0

    async def body(_programs: Programs) -> None:
        made = [Process() for _ in range(3)]
        waiting = list(made)

        async def start(_command: Command, _arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
            return cast(asyncio.subprocess.Process, waiting.pop(0))

        notifier = VrrpNotifier(start)
        for name in ("V1", "V2", "V3"):
            notifier.put(NotifyEvent("INSTANCE", name, "MASTER", 150, (Command(("/hangs",)),)))
        await notifier.finish()
        assert ended == made[:1]

    run(body)
