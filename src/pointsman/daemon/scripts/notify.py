# SPDX-License-Identifier: Apache-2.0
"""Run notify programs: in order for one instance, service or real server, in parallel for several."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable

from pointsman.control.messages import RunProgram
from pointsman.control.vrrp_messages import LOWER_PRIORITY, NotifyEvent
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.runtime.run_program import CannotRunError, end_program, run_program
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
MAX_RUNNING = 200
"""Programs of one kind (VRRP, services, real servers) that run at the same time."""
MAX_LEFT_BEHIND = 100
"""Notify scripts of VRRP that may run longer than VRRP_TIMEOUT. The oldest of more is ended."""

Start = Callable[[Command, tuple[str, ...]], Awaitable[asyncio.subprocess.Process]]
"""Function that starts a program with further arguments. It raises CannotRunError."""
Work = Callable[[], Coroutine[None, None, None]]


class Lanes:
    """Work of many owners: in order for one owner, in parallel for several, `most` at the same time.

    Work that waits is stale when newer work of the same owner and kind comes: it is dropped. So no more waits
    than there are owners and kinds.
    """

    def __init__(self, most: int = MAX_RUNNING) -> None:
        self._running = asyncio.Semaphore(most)
        self._waiting: dict[Hashable, dict[Hashable, Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._once = LogOnce(log)

    def put(self, owner: Hashable, kind: Hashable, name: str, work: Work) -> None:
        """Start work, or queue it while other work of this owner runs. `name`: its name in the log."""
        if owner not in self._waiting:
            self._waiting[owner] = {}
            task = asyncio.get_running_loop().create_task(self._work(owner, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        waiting = self._waiting[owner]
        if waiting.pop(kind, None) is not None:
            text = "%s has come again before its program could run: it runs once"
            self._once.warning(owner, text, name)
        waiting[kind] = work

    async def wait(self, timeout: float) -> None:
        """Wait until all work is done, at most `timeout` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def cancel(self) -> None:
        """Cancel the work that runs, and drop what waits."""
        for task in self._tasks:
            task.cancel()
        await self.wait(SERVER_STOP_TIMEOUT)

    async def _work(self, owner: Hashable, work: Work) -> None:
        waiting = self._waiting[owner]
        try:
            while True:
                async with self._running:
                    await work()
                if not waiting:
                    self._once.forget(owner)
                    return
                work = waiting.pop(next(iter(waiting)))
        finally:
            del self._waiting[owner]


class VrrpNotifier:
    """Runner of VRRP's notify scripts. Those about a lower priority do not delay those about a state."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._lanes = Lanes()
        self._left_behind: collections.deque[asyncio.subprocess.Process] = collections.deque()

    def put(self, event: NotifyEvent) -> None:
        """Queue the scripts of an event."""
        if event.commands or event.with_arguments:
            owner = (event.kind, event.name, event.state == LOWER_PRIORITY)
            name = f"{event.kind} {event.name} {event.state}"
            self._lanes.put(owner, event.state, name, lambda: self._run_all(event))

    async def finish(self) -> None:
        """Wait at most `VRRP_STOP_TIMEOUT` seconds for the queued scripts. Do not end those that run then."""
        await self._lanes.wait(VRRP_STOP_TIMEOUT)

    async def _run_all(self, event: NotifyEvent) -> None:
        for command in event.commands:
            await self._run(command, ())
        if event.with_arguments:
            arguments = (event.kind, event.name, event.state, str(event.priority))
            await self._run(event.with_arguments, arguments)

    async def _run(self, command: Command, arguments: tuple[str, ...]) -> None:
        try:
            process = await self._start(command, arguments)
        except CannotRunError as problem:
            log.error("notify script: %s", problem)
            return
        try:
            async with asyncio.timeout(VRRP_TIMEOUT):
                code = await process.wait()
        except TimeoutError:
            log.warning("notify script %s still runs after %.0f s", command.words[0], VRRP_TIMEOUT)
            await self._leave_behind(process)
            return
        if code:
            text = " ".join((*command.words, *arguments))
            log.warning("notify script %s ended with exit code %d", text, code)

    async def _leave_behind(self, process: asyncio.subprocess.Process) -> None:
        self._left_behind = collections.deque(each for each in self._left_behind if each.returncode is None)
        self._left_behind.append(process)
        if len(self._left_behind) > MAX_LEFT_BEHIND:
            log.error("more than %d notify scripts do not end: the oldest is ended", MAX_LEFT_BEHIND)
            await end_program(self._left_behind.popleft())


class ServerNotifier:
    """Runner of the notify programs of services and real servers.

    `notify_down` of a real server ends before its `notify_up` starts. `quorum_down` waits for neither.
    """

    def __init__(self) -> None:
        self._services = Lanes()
        self._servers = Lanes()

    def put(self, order: RunProgram) -> None:
        """Queue a program."""
        lanes = self._services if order.server is None else self._servers
        owner = (order.service, order.server)
        lanes.put(owner, order.command, " ".join(order.command.words), lambda: self._run(order))

    async def finish(self) -> None:
        """Wait for the queued programs, at most `SERVER_STOP_TIMEOUT` seconds, then end those that run."""
        both = (self._services, self._servers)
        await asyncio.gather(*(lanes.wait(SERVER_STOP_TIMEOUT) for lanes in both))
        await asyncio.gather(*(lanes.cancel() for lanes in both))

    async def _run(self, order: RunProgram) -> None:
        name = " ".join(order.command.words)
        try:
            code = await run_program(order.command, SERVER_TIMEOUT, security=order.secure)
        except CannotRunError as error:
            log.error("%s", error)
            return
        if code is None:
            log.error("%s ran longer than %g s and was ended", name, SERVER_TIMEOUT)
        elif code:
            log.warning("%s ended with exit code %d", name, code)
