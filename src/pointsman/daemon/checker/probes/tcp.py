# SPDX-License-Identifier: Apache-2.0
"""TCP_CHECK: one non-blocking TCP handshake, without a task or timer: there may be thousands a second."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from pointsman.daemon.checker.deadlines import deadlines
from pointsman.daemon.checker.probes.handshakes import handshake_poller
from pointsman.daemon.checker.probes.probe import Finished, Outcome, Result
from pointsman.daemon.checker.probes.probe_source import NO_CHOICE, probe_sources
from pointsman.daemon.checker.probes.sockets import open_socket, socket_error, source_address
from pointsman.health import tcp
from pointsman.model.checks import TcpCheck

_NON_BLOCKING = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class TcpProbe:
    """A TCP handshake. `finished` is called exactly once for each start, possibly before `start` returns.

    The probe can be started again after it has ended.
    """

    def __init__(self, check: TcpCheck, loop: asyncio.AbstractEventLoop, finished: Finished) -> None:
        self._check = check
        self._poller = handshake_poller(loop)
        self._deadlines = deadlines(loop)
        self._finished = finished
        self._socket: socket.socket | None = None
        self._address = (str(check.connect_address), check.connect_port)
        self._passed = Result(Outcome.PASSED, tcp.success(check))
        self._family = socket.AF_INET if check.connect_address.version == 4 else socket.AF_INET6
        self._is_plain = not (check.bind_interface or check.fwmark or check.bind_address or check.bind_port)
        """True if nothing but the choice of the source can be special about the socket."""
        self._choice = NO_CHOICE

    def start(self) -> None:
        """Send the SYN."""
        try:
            self._socket = opened = self._open()
        except OSError as error:
            self._end(Outcome.UNABLE, str(socket_error(self._check, error)))
            return
        code = opened.connect_ex(self._address)
        if code != errno.EINPROGRESS:
            self._on_result(code)
            return
        self._poller.wait(opened.fileno(), self._check.connect_timeout, self)

    def _open(self) -> socket.socket:
        """Return a socket: without more ado if it needs no option. Raises OSError."""
        if self._is_plain:
            sources = probe_sources()
            if not sources.is_valid(self._choice, self._deadlines.now):
                self._choice = sources.choose(self._check)
            if self._choice.source is None:
                return socket.socket(self._family, _NON_BLOCKING)
        return open_socket(self._check, socket.SOCK_STREAM)

    def cancel(self) -> None:
        """Stop the handshake without a result."""
        self._close()

    def on_answer(self, connected: bool) -> None:
        """Report the result of the handshake."""
        assert self._socket is not None
        if connected:
            self._socket.close()
            self._socket = None
            self._finished(self._passed)
        else:
            self._on_result(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def on_timeout(self) -> None:
        """Report that there was no answer within `connect_timeout`."""
        assert self._socket is not None
        self._end(Outcome.FAILED, tcp.timeout(self._check, source_address(self._socket)))

    def _on_result(self, code: int) -> None:
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
            self._poller.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
