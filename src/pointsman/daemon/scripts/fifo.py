"""Notify FIFOs: named pipes that get a line at every change, and the programs that read them."""

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
from pointsman.daemon.runtime.run_program import CannotRunError, end_program
from pointsman.model.tracking import Command, NotifyFifo

READER_PAUSE = 1.0
"""Seconds until a reader that has ended is started again."""

log = logging.getLogger("fifo")

Start = Callable[[Command], Awaitable[asyncio.subprocess.Process]]
"""Starts a program; raises CannotRunError."""


class Fifos:
    """The open pipes. Every write returns at once: what a full pipe cannot take is lost, and logged once."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._open: dict[NotifyFifo, tuple[int, bool]] = {}
        """Descriptor, and whether the pipe was made here."""
        self._readers: dict[NotifyFifo, asyncio.Task[None]] = {}
        self._once = LogOnce(log)
        self._changing = asyncio.Lock()

    async def use(self, wanted: Iterable[NotifyFifo]) -> None:
        """Write to these from now on; those that were open already stay open."""
        async with self._changing:  # reloads may come faster than a reader ends
            await self._use(dict.fromkeys(wanted))

    async def _use(self, chosen: Collection[NotifyFifo]) -> None:
        for fifo in [fifo for fifo in self._open if fifo not in chosen]:
            await self._close(fifo)
        for fifo in chosen:
            if fifo in self._open:
                continue
            try:
                self._open[fifo] = _opened(fifo)
            except (OSError, KeyError) as error:
                log.error("%s %s: %s", fifo.word, fifo.path, getattr(error, "strerror", None) or error)
                continue
            if fifo.reader is not None:
                self._readers[fifo] = asyncio.create_task(self._read(fifo, fifo.reader))

    def write(self, line: str, fifos: Iterable[NotifyFifo]) -> None:
        """Write one line to those of these that are open."""
        for fifo in fifos:
            if fifo not in self._open:
                continue
            try:
                os.write(self._open[fifo][0], f"{line}\n".encode())
            except OSError as error:
                why = "nobody reads it" if error.errno == errno.EAGAIN else error.strerror
                self._once.warning(
                    fifo.path, "%s %s takes no more: %s; lines are lost", fifo.word, fifo.path, why
                )
            else:
                self._once.forget(fifo.path)

    async def close(self) -> None:
        """Close them, and end their readers."""
        async with self._changing:
            await asyncio.gather(*map(self._close, list(self._open)))

    async def _close(self, fifo: NotifyFifo) -> None:
        descriptor, made = self._open.pop(fifo)
        if reader := self._readers.pop(fifo, None):
            reader.cancel()
            await asyncio.wait([reader])
        os.close(descriptor)
        if made:
            Path(fifo.path).unlink(missing_ok=True)

    async def _read(self, fifo: NotifyFifo, reader: Command) -> None:
        """Keep its reader running, with the path as the last argument."""
        command = msgspec.structs.replace(reader, words=(*reader.words, fifo.path))
        while True:
            try:
                process = await self._start(command)
            except CannotRunError as problem:
                log.error("%s_script: %s", fifo.word, problem)
                return
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await end_program(process)
                raise
            log.warning("%s_script ended with code %d; starting it again", fifo.word, code)
            await asyncio.sleep(READER_PAUSE)


def _opened(fifo: NotifyFifo) -> tuple[int, bool]:
    """The pipe, made where there is none. Raises OSError, KeyError (no such user or group)."""
    made = False
    user = pwd.getpwnam(fifo.user) if fifo.user else None
    group = grp.getgrnam(fifo.group).gr_gid if fifo.group else user.pw_gid if user else -1
    with contextlib.suppress(FileExistsError):
        os.mkfifo(fifo.path, 0o600)
        made = True
    # For reading too, so that a reader that goes away is no error.
    descriptor = os.open(fifo.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is there, and no FIFO")
        if made:
            os.fchown(descriptor, user.pw_uid if user else -1, group)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, made
