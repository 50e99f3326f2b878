# SPDX-License-Identifier: Apache-2.0
"""Run notify programs in the order of their events: VRRP's per instance, real servers' in one queue."""

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

VRRP_TIMEOUT = 30.0
"""Seconds to wait for a notify script of VRRP. Then the next one of the same instance starts beside it."""
VRRP_STOP_TIMEOUT = 4.0
"""Seconds at a stop for notify scripts of VRRP that wait or run."""
SERVER_TIMEOUT = 60.0
"""Seconds after which a notify program of real servers is ended."""
SERVER_STOP_TIMEOUT = 5.0
"""Seconds at a stop for notify programs of real servers that wait or run."""
MAX_WAITING = 1000
"""Maximum length of a queue. If it is full, the oldest entry is dropped."""

Start = Callable[[Command, tuple[str, ...]], Awaitable[asyncio.subprocess.Process]]
"""Function that starts a program with further arguments. It raises CannotRunError."""
_Key = tuple[str, str]
"""Kind (INSTANCE or GROUP) and name."""


class VrrpNotifier:
    """Runner of VRRP's notify scripts: in order for one instance or group, in parallel for several."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._queues: dict[_Key, collections.deque[NotifyEvent]] = {}
        self._workers: dict[_Key, asyncio.Task[None]] = {}

    def put(self, event: NotifyEvent) -> None:
        """Queue the scripts of an event."""
        if not (event.commands or event.with_arguments):
            return
        key = (event.kind, event.name)
        queue = self._queues.setdefault(key, collections.deque(maxlen=MAX_WAITING))
        if len(queue) == MAX_WAITING:
            log.error("%s %s: more than %d notify events wait: the oldest is dropped", *key, MAX_WAITING)
        queue.append(event)
        if key not in self._workers:
            self._workers[key] = asyncio.create_task(self._work(key))

    async def finish(self) -> None:
        """Wait at most `VRRP_STOP_TIMEOUT` seconds for the queued scripts. Do not end those that run then."""
        if self._workers:
            await asyncio.wait(self._workers.values(), timeout=VRRP_STOP_TIMEOUT)

    async def _work(self, key: _Key) -> None:
        queue = self._queues[key]
        while queue:
            event = queue.popleft()
            for command in event.commands:
                await self._run(command, ())
            if event.with_arguments:
                arguments = (event.kind, event.name, event.state, str(event.priority))
                await self._run(event.with_arguments, arguments)
        del self._queues[key], self._workers[key]

    async def _run(self, command: Command, arguments: tuple[str, ...]) -> None:
        try:
            process = await self._start(command, arguments)
            async with asyncio.timeout(VRRP_TIMEOUT):
                code = await process.wait()
        except CannotRunError as problem:
            log.error("notify script: %s", problem)
        except TimeoutError:
            log.warning("notify script %s still runs after %.0f s", command.words[0], VRRP_TIMEOUT)
        else:
            if code:
                log.warning(
                    "notify script %s ended with exit code %d", " ".join((*command.words, *arguments)), code
                )


class ServerNotifier:
    """Runner of real servers' notify programs, in order: `notify_down` ends before `notify_up` starts."""

    def __init__(self) -> None:
        self._waiting: collections.deque[RunProgram] = collections.deque(maxlen=MAX_WAITING)
        self._worker: asyncio.Task[None] | None = None

    def put(self, order: RunProgram) -> None:
        """Queue a program."""
        if len(self._waiting) == MAX_WAITING:
            log.error("more than %d notify programs wait: the oldest is dropped", MAX_WAITING)
        self._waiting.append(order)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def finish(self) -> None:
        """Wait for the queued programs, at most `SERVER_STOP_TIMEOUT` seconds, then end the one that runs."""
        if self._worker is not None:
            await asyncio.wait([self._worker], timeout=SERVER_STOP_TIMEOUT)
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        while self._waiting:
            order = self._waiting.popleft()
            name = " ".join(order.command.words)
            try:
                code = await run_program(order.command, SERVER_TIMEOUT, security=order.secure)
            except CannotRunError as error:
                log.error("%s", error)
                continue
            if code is None:
                log.error("%s ran longer than %g s and was ended", name, SERVER_TIMEOUT)
            elif code:
                log.warning("%s ended with exit code %d", name, code)
