"""The process that runs administrators' programs; ps(1) shows it as pm-scripts.

VRRP: tracked scripts, notify scripts, FIFOs; tracked files and processes are watched here, too. Real servers:
MISC_CHECK, notify_up and _down, quorum_up and _down, FIFOs.

It stays root, because programs run as users of their own. It does nothing else, and hears nobody but VRRP and
the director. It is a process of its own, so that no program can delay an advert. It stops last, so that the
programs of the stop itself are run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import msgspec

from pointsman.control.messages import Resync
from pointsman.control.vrrp_messages import NotifyEvent, TrackerValue, notice_decoder
from pointsman.daemon.checker.process import Checker, check_until_stopped
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.daemon.runtime.run_program import start_program
from pointsman.daemon.scripts.fifo import Fifos
from pointsman.daemon.scripts.notify import ServerNotifier, VrrpNotifier
from pointsman.daemon.scripts.tracked import Trackers
from pointsman.health import check_types
from pointsman.model.config import Config
from pointsman.model.diff import is_same
from pointsman.model.health import VirtualServer
from pointsman.model.tracking import Command, NotifyFifo, VrrpSurroundings
from pointsman.model.vrrp import needs_scripts_process

log = logging.getLogger("scripts")

_STATES = {"MASTER", "BACKUP", "FAULT"}
_ENDS = {"STOP", "DELETED"}


def has_work(config: Config) -> bool:
    """True if this configuration has any program to run, or anything else that is done here."""
    servers = config.virtual_servers
    return (
        needs_scripts_process(config.instances, config.vrrp)
        or bool(servers and config.server_fifos)
        or any(map(_runs_programs, servers))
    )


def _runs_programs(virtual: VirtualServer) -> bool:
    return bool(virtual.quorum_up_command or virtual.quorum_down_command) or any(
        member.notify_up or member.notify_down or any(map(check_types.runs_programs, member.checks))
        for member in virtual.members
    )


def run(config: Config, vrrp: socket.socket, director: socket.socket) -> int:
    """Run programs until SIGTERM (exit code 0) or until the director closes its channel (exit code 1).

    `config` as `generations.for_scripts` makes it; others come from the director.
    """
    return asyncio.run(ScriptsProcess(config, vrrp, director).run())


class ScriptsProcess:
    """Everything that runs programs, and the channels to VRRP and to the director."""

    def __init__(self, config: Config, vrrp: socket.socket, director: socket.socket) -> None:
        self._config = config
        self._vrrp = vrrp
        self._director = director
        self._notices = Inbox(vrrp, notice_decoder, "VRRP process", log)
        self._trackers = Trackers(self._report)
        self._fifos = Fifos(self._start)
        self._vrrp_fifos: tuple[NotifyFifo, ...] = ()
        self._server_fifos: tuple[NotifyFifo, ...] = ()
        self._of_instances = VrrpNotifier(self._start)
        self._of_servers = ServerNotifier()
        self._states: dict[tuple[str, str], str] = {}
        """The last line about each instance and group."""
        self._tracked: VrrpSurroundings | None = None
        """The settings that the trackers work by."""
        self._changing = asyncio.Lock()
        """Held while a configuration is put in force: others may come meanwhile."""

    async def run(self) -> int:
        """Work until SIGTERM, then run what VRRP and the director have said last."""
        loop = asyncio.get_running_loop()
        await self._put_in_force(self._config)
        reporter = DirectorChannel(self._director, loop)
        reporter.on_program = self._of_servers.put
        reporter.on_line = lambda line: self._fifos.write(line, self._server_fifos)
        checker = Checker(self._config.virtual_servers, reporter, loop, programs=True)
        self._vrrp.setblocking(False)
        loop.add_reader(self._vrrp, self._on_vrrp)
        reloads: set[asyncio.Task[None]] = set()

        def reconfigure(config: Config) -> None:
            self._config = config
            checker.adopt(config.virtual_servers)
            self._repeat_states()
            task = loop.create_task(self._put_in_force(config))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        code = await check_until_stopped(checker, reporter, reconfigure)
        self._on_vrrp()
        reporter.on_configuration = lambda _config: None
        reporter.drain()
        await asyncio.gather(*reloads)
        await asyncio.gather(self._trackers.stop(), self._of_instances.finish(), self._of_servers.finish())
        await self._fifos.close()
        return code

    async def _put_in_force(self, config: Config) -> None:
        """Open and watch what this configuration names. Equal settings of VRRP go on undisturbed."""
        async with self._changing:
            restart = self._tracked is None or not is_same(self._tracked, config.vrrp)
            # When the last service goes there are lines about its end, so its pipes stay open.
            of_servers = config.server_fifos if config.virtual_servers else self._server_fifos
            if restart:
                await self._trackers.stop()
            await self._fifos.use((*config.vrrp.fifos, *of_servers))
            self._vrrp_fifos, self._server_fifos = config.vrrp.fifos, of_servers
            if restart:
                self._trackers.start(config.vrrp)
                self._tracked = config.vrrp

    def _repeat_states(self) -> None:
        if self._config.vrrp.states_on_reload:
            for line in self._states.values():
                self._fifos.write(line, self._vrrp_fifos)

    async def _start(self, command: Command, more: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        settings = self._config.vrrp
        return await start_program(
            command,
            more,
            user=settings.script_user,
            group=settings.script_group,
            security=settings.script_security,
        )

    def _report(self, reading: TrackerValue) -> None:
        with contextlib.suppress(OSError):
            self._vrrp.send(msgspec.json.encode(reading))

    def _on_vrrp(self) -> None:
        while (message := self._notices.receive()) is not None:
            match message:
                case Resync():
                    self._trackers.report_all()
                case NotifyEvent():
                    self._on_notice(message)
        if self._notices.closed:
            asyncio.get_running_loop().remove_reader(self._vrrp)

    def _on_notice(self, notice: NotifyEvent) -> None:
        line = f'{notice.kind} "{notice.name}" {notice.state} {notice.priority}'
        self._fifos.write(line, self._vrrp_fifos)
        if notice.state in _STATES:
            self._states[notice.kind, notice.name] = line
        elif notice.state in _ENDS:
            self._states.pop((notice.kind, notice.name), None)
        self._of_instances.put(notice)
