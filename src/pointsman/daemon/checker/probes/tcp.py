"""One TCP handshake without blocking: no task and no timer of its own, as there may be thousands a second."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from pointsman.daemon.checker.probes.handshakes import handshake_poller
from pointsman.daemon.checker.probes.probe import Finished, Outcome, Result
from pointsman.daemon.checker.probes.sockets import opened, source_of
from pointsman.health import tcp
from pointsman.model.checks import TcpCheck


class TcpProbe:
    """A handshake in progress; `finished` is called exactly once a start, possibly before `start` returns.

    It can be started again when it has ended.
    """

    def __init__(self, check: TcpCheck, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._check = check
        self._doorstep = handshake_poller(loop)
        self._finished = finished
        self._socket: socket.socket | None = None
        self._address = (str(check.connect_address), check.connect_port)
        self._passed = Result(Outcome.PASSED, tcp.success(check))

    def start(self) -> None:
        """Send the SYN."""
        try:
            self._socket = opened(self._check, socket.SOCK_STREAM)
        except OSError as error:
            self._end(Outcome.UNABLE, f"no socket to check {tcp.target(self._check)} from: {error.strerror}")
            return
        code = self._socket.connect_ex(self._address)
        if code != errno.EINPROGRESS:
            self._settle(code)
            return
        self._doorstep.wait(self._socket.fileno(), self._check.connect_timeout, self)

    def cancel(self) -> None:
        """Give up without an outcome."""
        self._close()

    def answered(self) -> None:
        """The kernel knows how the handshake has ended."""
        assert self._socket is not None
        self._settle(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def timed_out(self) -> None:
        """There was no answer within `connect_timeout`."""
        assert self._socket is not None
        self._end(Outcome.FAILED, tcp.timeout(self._check, source_of(self._socket)))

    def _settle(self, code: int) -> None:
        if code == 0:
            self._close()
            self._finished(self._passed)
            return
        outcome = Outcome.UNABLE if code in tcp.OUR_OWN_ERRORS else Outcome.FAILED
        self._end(outcome, tcp.failure(self._check, code, os.strerror(code)))

    def _end(self, outcome: Outcome, reason: str) -> None:
        self._close()
        self._finished(Result(outcome, reason))

    def _close(self) -> None:
        if self._socket is not None:
            self._doorstep.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
