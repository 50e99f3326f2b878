"""One TCP handshake without blocking: callbacks on a loop, no task, as there may be thousands a second."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from pointsman.daemon.probes.probe import Finished, Outcome, Result
from pointsman.daemon.probes.sockets import opened, source_of
from pointsman.health import tcp
from pointsman.model.checks import TcpCheck


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
        try:
            self._socket = opened(self._check, socket.SOCK_STREAM)
        except OSError as error:
            self._end(Outcome.UNABLE, f"no socket to check {tcp.target(self._check)} from: {error.strerror}")
            return
        code = self._socket.connect_ex((str(self._check.connect_address), self._check.connect_port))
        if code != errno.EINPROGRESS:
            self._settle(code)
            return
        # By number: asyncio would otherwise write the socket out as a text each time, only to throw it away.
        self._loop.add_writer(self._socket.fileno(), self._answered)
        self._timer = self._loop.call_later(self._check.connect_timeout, self._timed_out)

    def cancel(self) -> None:
        """Give up without an outcome."""
        self._close()

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
        assert self._socket is not None
        self._end(Outcome.FAILED, tcp.timeout(self._check, source_of(self._socket)))

    def _end(self, outcome: Outcome, reason: str) -> None:
        self._close()
        self._finished(Result(outcome, reason))

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
