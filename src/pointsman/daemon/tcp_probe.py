"""One TCP handshake without blocking: callbacks on a loop, no task, as there may be thousands a second."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
import socket
from collections.abc import Callable

from pointsman.health import tcp
from pointsman.model.health import TcpCheck


class Outcome(enum.Enum):
    """How a probe ends."""

    PASSED = "passed"
    FAILED = "failed"
    UNABLE = "unable"
    """It could not be made, for a reason of our own host."""


Finished = Callable[[Outcome, str], None]


class TcpProbe:
    """A handshake in progress; `finished` is called exactly once, possibly before `start` returns."""

    def __init__(self, check: TcpCheck, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._check = check
        self._loop = loop
        self._finished = finished
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the SYN."""
        family = socket.AF_INET if self._check.connect_address.version == 4 else socket.AF_INET6
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self._bind(self._socket)
        except OSError as error:
            self._end(Outcome.UNABLE, f"no socket to check {tcp.target(self._check)} from: {error.strerror}")
            return
        code = self._socket.connect_ex((str(self._check.connect_address), self._check.connect_port))
        if code != errno.EINPROGRESS:
            self._settle(code)
            return
        self._loop.add_writer(self._socket, self._answered)
        self._timer = self._loop.call_later(self._check.connect_timeout, self._timed_out)

    def cancel(self) -> None:
        """Give up without an outcome."""
        self._close()

    def _bind(self, sock: socket.socket) -> None:
        if self._check.bind_address is None and not self._check.bind_port:
            return
        wildcard = "0.0.0.0" if sock.family == socket.AF_INET else "::"
        # The port of the last probe may still be in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(self._check.bind_address or wildcard), self._check.bind_port))

    def _answered(self) -> None:
        assert self._socket is not None
        self._settle(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _settle(self, code: int) -> None:
        if code == 0:
            self._end(Outcome.PASSED, tcp.success(self._check))
            return
        outcome = Outcome.UNABLE if code in tcp.OUR_OWN_ERRORS else Outcome.FAILED
        self._end(outcome, tcp.failure(self._check, code, os.strerror(code)))

    def _timed_out(self) -> None:
        self._end(Outcome.FAILED, tcp.timeout(self._check))

    def _end(self, outcome: Outcome, reason: str) -> None:
        self._close()
        self._finished(outcome, reason)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
