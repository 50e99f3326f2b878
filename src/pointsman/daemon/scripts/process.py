# SPDX-License-Identifier: Apache-2.0
"""The process that runs administrators' programs. ps(1) shows it as pm-scripts.

For VRRP: tracked scripts, notify scripts and FIFOs. It also watches tracked files and processes.
For real servers: MISC_CHECK, notify_up and notify_down, quorum_up and quorum_down, FIFOs.

It stays root, because programs run as different users. It does nothing else and reads only the channels of
VRRP and the director. It is a separate process, so that no program can delay an advert. It stops last, so
that it can run the programs for the stop itself.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import socket

import msgspec

from pointsman.control.messages import Resync
from pointsman.control.vrrp_messages import NotifyEvent, TrackerValue, notify_decoder
from pointsman.daemon.checker.process import Checker, check_until_stopped
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.run_program import start_program
from pointsman.daemon.scripts.fifo import Fifos
from pointsman.daemon.scripts.notify import ServerNotifier, VrrpNotifier
from pointsman.daemon.scripts.problems import Problems
from pointsman.daemon.scripts.trackers import Trackers
from pointsman.model.config import Config
from pointsman.model.diff import is_same
from pointsman.model.tracking import Command, NotifyFifo, VrrpSurroundings

log = logging.getLogger("scripts")

MAX_LATE_LINES = 1000
"""Lines for FIFOs that are not open yet. The oldest of more are dropped."""

_STATES = {"MASTER", "BACKUP", "FAULT"}
"""Words of a NotifyEvent that are a state. A reload can repeat them to FIFOs."""
_FINAL_STATES = {"STOP", "DELETED"}
"""Words of a NotifyEvent that end an instance or group."""


def run(
    config: Config,
    vrrp: socket.socket,
    director: socket.socket,
    heartbeat: Heartbeat | None = None,
    serial: int = 0,
) -> int:
    """Run programs until SIGTERM (exit code 0) or until the director closes its channel (exit code 1).

    `config` comes from `config_history.for_scripts`. The director sends later configurations.
    """
    return asyncio.run(ScriptsProcess(config, vrrp, director, serial).run(heartbeat))


class ScriptsProcess:
    """All runners of programs, and the channels to VRRP and to the director."""

    def __init__(self, config: Config, vrrp: socket.socket, director: socket.socket, serial: int = 0) -> None:
        self._config = config
        self._vrrp = vrrp
        self._director = director
        self._serial = serial
        self._events = Inbox(vrrp, notify_decoder, "VRRP process", log)
        self._problems = Problems()
        self._trackers = Trackers(self._send_value, self._problems)
        self._fifos = Fifos(self._start, self._problems)
        self._vrrp_fifos: tuple[NotifyFifo, ...] = ()
        self._server_fifos: tuple[NotifyFifo, ...] = ()
        self._vrrp_notifier = VrrpNotifier(self._start)
        self._server_notifier = ServerNotifier()
        self._states: dict[tuple[str, str], str] = {}
        """Last FIFO line of each instance and group, by kind and name."""
        self._tracker_settings: VrrpSurroundings | None = None
        """Settings of the running trackers. None: they have not been started."""
        self._changing = asyncio.Lock()
        """Held while a configuration is applied, because the next one may come meanwhile."""
        self._unopened = 1
        """Number of configurations whose FIFOs are not open yet."""
        self._late_lines: collections.deque[tuple[str, bool]] = collections.deque(maxlen=MAX_LATE_LINES)
        """Lines that wait for these FIFOs. True: for those of servers."""

    async def run(self, heartbeat: Heartbeat | None = None) -> int:
        """Work until SIGTERM, then run the programs of the last messages of VRRP and the director."""
        loop = asyncio.get_running_loop()
        await self._apply(self._config)
        channel = DirectorChannel(self._director, loop, self._serial, self._config.virtual_servers)
        self._problems.report_to(channel.send_problems)
        channel.on_run_program = self._server_notifier.put
        channel.on_tell_servers = lambda line: self._write_line(line, to_servers=True)
        checker = Checker(self._config.virtual_servers, channel, loop, programs=True)
        self._vrrp.setblocking(False)
        loop.add_reader(self._vrrp, self._on_vrrp)
        reloads: set[asyncio.Task[None]] = set()

        def reconfigure(config: Config) -> None:
            self._config = config
            checker.reconfigure(config.virtual_servers)
            self._write_states_again()
            self._unopened += 1
            task = loop.create_task(self._apply(config))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        code = await check_until_stopped(checker, channel, reconfigure, heartbeat)
        self._on_vrrp()
        channel.on_new_configuration = lambda _config: None
        channel.on_readable()
        await asyncio.gather(*reloads)
        await asyncio.gather(
            self._trackers.stop(), self._vrrp_notifier.finish(), self._server_notifier.finish()
        )
        await self._fifos.close()
        return code

    async def _apply(self, config: Config) -> None:
        """Open the FIFOs and start the trackers of a configuration.

        Trackers with equal settings keep running. Disabled ones start again.
        """
        async with self._changing:
            restart = self._tracker_settings is None or not is_same(self._tracker_settings, config.vrrp)
            # When the last service or instance is removed, its FIFOs stay open for the lines about its end.
            server_fifos = config.server_fifos if config.virtual_servers else self._server_fifos
            vrrp_fifos = config.vrrp.fifos if config.vrrp.has_instances else self._vrrp_fifos
            await self._fifos.reconfigure((*vrrp_fifos, *server_fifos))
            self._vrrp_fifos, self._server_fifos = vrrp_fifos, server_fifos
            self._unopened -= 1
            self._write_late_lines()
            if restart:
                await self._trackers.stop()
                self._trackers.start(config.vrrp)
                self._tracker_settings = config.vrrp
            else:
                self._trackers.start_disabled()

    def _write_line(self, line: str, *, to_servers: bool) -> None:
        """Write a line to the FIFOs of VRRP or of servers, once those of the new configuration are open."""
        self._late_lines.append((line, to_servers))
        self._write_late_lines()

    def _write_late_lines(self) -> None:
        while self._late_lines and not self._unopened:
            line, to_servers = self._late_lines.popleft()
            self._fifos.write(line, self._server_fifos if to_servers else self._vrrp_fifos)

    def _write_states_again(self) -> None:
        if self._config.vrrp.states_on_reload:
            for line in self._states.values():
                self._fifos.write(line, self._vrrp_fifos)

    async def _start(self, command: Command, arguments: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        settings = self._config.vrrp
        return await start_program(
            command,
            arguments,
            user=settings.script_user,
            group=settings.script_group,
            security=settings.script_security,
        )

    def _send_value(self, value: TrackerValue) -> None:
        with contextlib.suppress(OSError):
            self._vrrp.send(msgspec.json.encode(value))

    def _on_vrrp(self) -> None:
        while (message := self._events.receive()) is not None:
            match message:
                case Resync():
                    self._trackers.report_all()
                case NotifyEvent():
                    self._on_event(message)
        if self._events.closed:
            asyncio.get_running_loop().remove_reader(self._vrrp)

    def _on_event(self, event: NotifyEvent) -> None:
        line = f'{event.kind} "{event.name}" {event.state} {event.priority}'
        self._write_line(line, to_servers=False)
        if event.state in _STATES:
            self._states[event.kind, event.name] = line
        elif event.state in _FINAL_STATES:
            self._states.pop((event.kind, event.name), None)
        self._vrrp_notifier.put(event)
