# SPDX-License-Identifier: Apache-2.0
"""Notify FIFOs: named pipes that get one line per state change, and the programs that read them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import logging
import os
import pwd
import stat
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path

import msgspec

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.runtime.run_program import CannotRunError, InsecureProgramError, end_program
from pointsman.daemon.scripts.problems import Problems
from pointsman.model.tracking import Command, NotifyFifo

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a reader that has ended is started again. They double with each time."""
STEADY = 10.0
"""Seconds after which a running reader is in order again."""

log = logging.getLogger("fifo")

Start = Callable[[Command], Awaitable[asyncio.subprocess.Process]]
"""Function that starts a program. It raises CannotRunError."""


class Fifos:
    """Open FIFOs. A write never blocks: a line for a full pipe is lost, which is logged once."""

    def __init__(self, start: Start, problems: Problems) -> None:
        self._start = start
        self._problems = problems
        self._open: dict[NotifyFifo, tuple[int, bool]] = {}
        """File descriptor, and True if this process has created the FIFO."""
        self._readers: dict[NotifyFifo, asyncio.Task[None]] = {}
        self._once = LogOnce(log)
        self._changing = asyncio.Lock()

    async def reconfigure(self, wanted: Iterable[NotifyFifo]) -> None:
        """Open these FIFOs and close all others. A FIFO that is already open stays open.

        A reader that is disabled is started again.
        """
        async with self._changing:  # reloads may come faster than a reader ends
            await self._reconfigure(dict.fromkeys(wanted))

    async def _reconfigure(self, wanted: Collection[NotifyFifo]) -> None:
        for fifo in [fifo for fifo in self._open if fifo not in wanted]:
            await self._close(fifo)
        self._problems.keep_only(NotifyFifo, wanted)
        for fifo in wanted:
            if fifo not in self._open:
                try:
                    self._open[fifo] = _open_fifo(fifo)
                except (OSError, KeyError) as error:
                    reason = getattr(error, "strerror", None) or error
                    self._problems.set(fifo, f"{fifo.word} {fifo.path} is not written: {reason}")
                    continue
                self._problems.forget(fifo)
            if fifo.reader is not None and (fifo not in self._readers or self._readers[fifo].done()):
                self._readers[fifo] = asyncio.create_task(self._run_reader(fifo, fifo.reader))

    def write(self, line: str, fifos: Iterable[NotifyFifo]) -> None:
        """Write one line to each of these FIFOs that is open."""
        for fifo in fifos:
            if fifo not in self._open:
                continue
            try:
                os.write(self._open[fifo][0], f"{line}\n".encode())
            except OSError as error:
                reason = (
                    "the pipe is full, no program reads it" if error.errno == errno.EAGAIN else error.strerror
                )
                text = "cannot write to %s %s: %s; lines are lost"
                self._once.warning(fifo.path, text, fifo.word, fifo.path, reason)
            else:
                self._once.forget(fifo.path)

    async def close(self) -> None:
        """Close all FIFOs and end their readers."""
        async with self._changing:
            await asyncio.gather(*map(self._close, list(self._open)))

    async def _close(self, fifo: NotifyFifo) -> None:
        descriptor, is_ours = self._open.pop(fifo)
        if reader := self._readers.pop(fifo, None):
            reader.cancel()
            await asyncio.wait([reader])
        if is_ours:
            _remove(fifo, descriptor)
        os.close(descriptor)

    async def _run_reader(self, fifo: NotifyFifo, reader: Command) -> None:
        """Keep the reader of a FIFO running, unless it is insecure. Its last argument is the path."""
        command = msgspec.structs.replace(reader, words=(*reader.words, fifo.path))
        pause = FIRST_PAUSE
        while True:
            try:
                process = await self._start(command)
            except InsecureProgramError as problem:
                self._problems.set(fifo, f"{fifo.word}_script is disabled until a reload: {problem}")
                return
            except CannotRunError as problem:
                self._problems.set(fifo, f"{fifo.word}_script does not run: {problem}")
            else:
                code, steady = await self._wait_for_end(fifo, process)
                pause = FIRST_PAUSE if steady else pause
                name = f"{fifo.word}_script {reader.words[0]}"
                self._problems.set(fifo, f"{name} ended with code {code}; it is started again and again")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _wait_for_end(self, fifo: NotifyFifo, process: asyncio.subprocess.Process) -> tuple[int, bool]:
        """Return the exit code of a reader, and True if it has run for long. Cancelling this ends it."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STEADY):
                    return await process.wait(), False
            self._problems.forget(fifo)
            return await process.wait(), True
        except asyncio.CancelledError:
            await end_program(process)
            raise


def _remove(fifo: NotifyFifo, descriptor: int) -> None:
    """Remove the path of an open FIFO, unless it is another file by now."""
    with contextlib.suppress(OSError):
        if os.path.samestat(Path(fifo.path).lstat(), os.fstat(descriptor)):
            Path(fifo.path).unlink()


def _open_fifo(fifo: NotifyFifo) -> tuple[int, bool]:
    """Open a FIFO; create it if it does not exist. Return its descriptor, and True if it was created.

    Raises OSError, KeyError (no such user or group).
    """
    created = False
    user = pwd.getpwnam(fifo.user) if fifo.user else None
    group = grp.getgrnam(fifo.group).gr_gid if fifo.group else user.pw_gid if user else -1
    with contextlib.suppress(FileExistsError):
        os.mkfifo(fifo.path, 0o600)
        created = True
    # Open for reading, too: the end of a reader is then no error (EPIPE).
    descriptor = os.open(fifo.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it exists and is not a FIFO")
        if created:
            os.fchown(descriptor, user.pw_uid if user else -1, group)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, created
