"""Run notify programs in the order of what they tell: VRRP's for each instance, those of servers for all."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable

from pointsman.control.messages import RunProgram
from pointsman.control.vrrp_messages import NotifyEvent
from pointsman.daemon.runtime.run_program import CannotRunError, run_program
from pointsman.model.tracking import Command

log = logging.getLogger("scripts")

NOTIFY_TURN = 30.0
"""Seconds that a notify script of VRRP may take before the next one of the same instance starts beside it."""
STOP_TIME = 4.0
"""Seconds at a stop for notify scripts of VRRP that wait or run."""
NOTIFY_TIME = 60.0
"""Seconds that a notify program of servers may take."""
MOST_WAITING = 1000
"""Programs in one queue; when more wait, the oldest are given up."""
LAST_WORDS = 5.0
"""Seconds at a stop for notify programs of servers that wait or run."""

Start = Callable[[Command, tuple[str, ...]], Awaitable[asyncio.subprocess.Process]]
"""Starts a program with further arguments; raises CannotRunError."""
_Key = tuple[str, str]


class VrrpNotifier:
    """Runs the notify scripts of each instance and group in their order, those of several side by side."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._queues: dict[_Key, collections.deque[NotifyEvent]] = {}
        self._workers: dict[_Key, asyncio.Task[None]] = {}

    def put(self, notice: NotifyEvent) -> None:
        """Run the scripts of this when their turn comes."""
        if not (notice.commands or notice.with_arguments):
            return
        key = (notice.kind, notice.name)
        queue = self._queues.setdefault(key, collections.deque(maxlen=MOST_WAITING))
        if len(queue) == MOST_WAITING:
            log.error("%s %s: more than %d notices wait: the oldest is given up", *key, MOST_WAITING)
        queue.append(notice)
        if key not in self._workers:
            self._workers[key] = asyncio.create_task(self._work(key))

    async def finish(self) -> None:
        """Wait for the rest, at most `STOP_TIME` seconds; what still runs goes on alone."""
        if self._workers:
            await asyncio.wait(self._workers.values(), timeout=STOP_TIME)

    async def _work(self, key: _Key) -> None:
        queue = self._queues[key]
        while queue:
            notice = queue.popleft()
            for command in notice.commands:
                await self._run(command, ())
            if notice.with_arguments:
                more = (notice.kind, notice.name, notice.state, str(notice.priority))
                await self._run(notice.with_arguments, more)
        del self._queues[key], self._workers[key]

    async def _run(self, command: Command, more: tuple[str, ...]) -> None:
        try:
            process = await self._start(command, more)
            async with asyncio.timeout(NOTIFY_TURN):
                code = await process.wait()
        except CannotRunError as problem:
            log.error("notify: %s", problem)
        except TimeoutError:
            log.warning("notify: %s still runs after %.0f s", command.words[0], NOTIFY_TURN)
        else:
            if code:
                log.warning("notify: %s ended with code %d", " ".join((*command.words, *more)), code)


class ServerNotifier:
    """Runs notify programs of servers in their order: a server's `down` is over before its `up` begins."""

    def __init__(self) -> None:
        self._waiting: collections.deque[RunProgram] = collections.deque(maxlen=MOST_WAITING)
        self._worker: asyncio.Task[None] | None = None

    def put(self, order: RunProgram) -> None:
        """Run this when its turn comes."""
        if len(self._waiting) == MOST_WAITING:
            log.error("more than %d notify programs wait: the oldest is given up", MOST_WAITING)
        self._waiting.append(order)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def finish(self) -> None:
        """Wait for the rest, at most `LAST_WORDS` seconds, then end what runs."""
        if self._worker is not None:
            await asyncio.wait([self._worker], timeout=LAST_WORDS)
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        while self._waiting:
            order = self._waiting.popleft()
            name = " ".join(order.command.words)
            try:
                code = await run_program(order.command, NOTIFY_TIME, security=order.secure)
            except CannotRunError as error:
                log.error("%s", error)
                continue
            if code is None:
                log.error("%s was ended after %g s", name, NOTIFY_TIME)
            elif code:
                log.warning("%s exited with status %d", name, code)
