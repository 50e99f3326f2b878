"""The process that runs programs about real servers: MISC_CHECK, notify_up and _down, quorum_up and _down,
FIFOs.

It stays root, because programs run as users of their own; therefore it does nothing else, and hears nobody
but the director. The verdicts of its checks go the same way as the checker's.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import socket
from collections.abc import Iterable

from pointsman.control import messages
from pointsman.daemon.checker.process import Checker, check_until_stopped
from pointsman.daemon.director_channel import DirectorChannel
from pointsman.daemon.scripts import run as run_program
from pointsman.daemon.scripts.fifo import Fifos
from pointsman.health import check_types
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.tracking import Command, NotifyFifo

log = logging.getLogger("programs")

NOTIFY_TIME = 60.0
"""Seconds that a notify program may take."""
MOST_WAITING = 1000
"""Programs in the queue; when more wait, the oldest are given up."""
LAST_WORDS = 5.0
"""Seconds at a stop for programs that wait or run."""


class NotifyQueue:
    """Runs notify programs one after the other: a server's `down` is over before its `up` begins."""

    def __init__(self) -> None:
        self._waiting: collections.deque[messages.RunProgram] = collections.deque(maxlen=MOST_WAITING)
        self._worker: asyncio.Task[None] | None = None

    def put(self, order: messages.RunProgram) -> None:
        """Run this when its turn comes."""
        if len(self._waiting) == MOST_WAITING:
            log.error("more than %d notify programs wait: the oldest is given up", MOST_WAITING)
        self._waiting.append(order)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def finish(self) -> None:
        """Wait for the rest, at most `LAST_WORDS` seconds."""
        if self._worker is not None:
            await asyncio.wait([self._worker], timeout=LAST_WORDS)
            self._worker.cancel()
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        while self._waiting:
            order = self._waiting.popleft()
            name = " ".join(order.command.words)
            try:
                process = await run_program.start(order.command, security=order.secure)
            except run_program.CannotRunError as error:
                log.error("%s", error)
                continue
            try:
                code = await run_program.finish(process, NOTIFY_TIME)
            finally:
                if process.returncode is None:
                    await run_program.end(process)
            if code is None:
                log.error("%s was ended after %g s", name, NOTIFY_TIME)
            elif code:
                log.warning("%s exited with status %d", name, code)


def has_work(virtual_servers: Iterable[VirtualServer]) -> bool:
    """Whether these services have any program to run."""
    return any(
        virtual.quorum_up_command
        or virtual.quorum_down_command
        or any(
            member.notify_up or member.notify_down or any(map(check_types.runs_programs, member.checks))
            for member in virtual.members
        )
        for virtual in virtual_servers
    )


def run(
    virtual_servers: Iterable[VirtualServer], channel: socket.socket, pipes: Iterable[NotifyFifo] = ()
) -> int:
    """Check and notify until SIGTERM (exit code 0) or until the director closes `channel` (exit code 1)."""

    async def body() -> int:
        loop = asyncio.get_running_loop()
        reporter, queue = DirectorChannel(channel, loop), NotifyQueue()
        reporter.on_program = queue.put
        secure = False

        async def start(command: Command) -> asyncio.subprocess.Process:
            return await run_program.start(command, security=secure)

        async def use(services: Iterable[VirtualServer], wanted: Iterable[NotifyFifo]) -> None:
            nonlocal secure
            secure = any(virtual.secure_commands for virtual in services)
            await fifos.use(wanted)

        fifos = Fifos(start)
        reporter.on_line = fifos.write
        await use(virtual_servers, pipes)
        checker = Checker(virtual_servers, reporter, loop, programs=True)
        tasks: set[asyncio.Task[None]] = set()

        def adopt(config: Config) -> None:
            checker.adopt(config.virtual_servers)
            task = loop.create_task(use(config.virtual_servers, config.server_fifos))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        code = await check_until_stopped(checker, reporter, adopt)
        await queue.finish()
        await asyncio.gather(*tasks)
        await fifos.close()
        return code

    return asyncio.run(body())
