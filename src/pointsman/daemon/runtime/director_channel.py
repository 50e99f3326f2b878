# SPDX-License-Identifier: Apache-2.0
"""Channel of checker and pm-scripts to the director: check results out, orders in."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable

from pointsman.control import messages
from pointsman.daemon.runtime.channels import Inbox
from pointsman.lvs.desired import CheckKey
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer

log = logging.getLogger("checker")


class DirectorChannel:
    """Sends check results, calls back for orders. Never blocks, never loses the latest result of a check."""

    def __init__(
        self,
        channel: socket.socket,
        loop: asyncio.AbstractEventLoop,
        serial: int = 0,
        virtual_servers: Iterable[VirtualServer] = (),
    ) -> None:
        """`serial`, `virtual_servers`: of the configuration that this process began with."""
        self._channel = channel
        self._orders = Inbox(
            channel, messages.checker_order_decoder, "director", log, serial, virtual_servers
        )
        self._loop = loop
        self._waiting: dict[CheckKey | None, messages.ScriptsReport] = {}
        self._latest: dict[CheckKey | None, messages.ScriptsReport] = {}
        """Last report of each check. None: of the problems with programs."""
        self.on_new_configuration: Callable[[Config], None] = lambda _config: None
        """Called with a new configuration."""
        self.on_run_program: Callable[[messages.RunProgram], None] = lambda _order: None
        """Called with an order to run a program."""
        self.on_tell_servers: Callable[[str], None] = lambda _line: None
        """Called with a line for the notify FIFOs."""
        self.on_check_now: Callable[[messages.CheckNow], None] = lambda _order: None
        """Called with an order to check a real server at once."""
        self.closed = asyncio.Event()
        """Set after the channel was closed."""
        channel.setblocking(False)
        loop.add_reader(channel, self.on_readable)

    def send_result(self, result: messages.CheckResult) -> None:
        """Send a result now, or as soon as the channel has room."""
        self._send((result.service, result.server, result.check), result)

    def send_problems(self, problems: tuple[str, ...]) -> None:
        """Send the present problems with programs now, or as soon as the channel has room."""
        self._send(None, messages.ProgramProblems(problems))

    def _send(self, key: CheckKey | None, report: messages.ScriptsReport) -> None:
        self._latest[key] = report
        self._waiting[key] = report
        self._flush()

    def forget(self, keys: Iterable[CheckKey]) -> None:
        """Forget the results of removed checks."""
        for key in keys:
            self._latest.pop(key, None)
            self._waiting.pop(key, None)

    def _flush(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            try:
                self._channel.send(messages.encode(self._waiting[key]))
            except BlockingIOError:
                self._loop.add_writer(self._channel, self._flush)
                return
            except OSError as error:
                self._close(f"cannot send to the director: {error.strerror}")
                return
            del self._waiting[key]
        self._loop.remove_writer(self._channel)

    def on_readable(self) -> None:
        """Handle all orders in the channel."""
        while (order := self._orders.receive()) is not None:
            self._on_order(order)
        if self._orders.closed:
            self._close("the director has closed the channel")

    def _on_order(self, order: messages.CheckerOrder) -> None:
        match order:
            case messages.NewConfiguration(config=Config() as config):
                self.on_new_configuration(config)
            case messages.RunProgram():
                self.on_run_program(order)
            case messages.CheckNow():
                self.on_check_now(order)
            case messages.TellServers(line=line):
                self.on_tell_servers(line)
            case messages.Resync():
                self._waiting = dict(self._latest)
                self._flush()

    def _close(self, reason: str) -> None:
        if self.closed.is_set():
            return
        log.error("%s", reason)
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self.closed.set()
