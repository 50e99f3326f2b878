# SPDX-License-Identifier: Apache-2.0
"""The checker process: probes real servers on a schedule and reports check results.

It needs no capability, except CAP_NET_RAW for a few types of checks. Equal checks of several services share
one probe. Results go to the director over a SOCK_SEQPACKET channel, one message per datagram. While the
channel is full, the latest result of each check waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import resource
import signal
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from pointsman.control import messages
from pointsman.daemon.checker.ha_suspend import HaSuspend
from pointsman.daemon.checker.probes.probe_source import probe_sources
from pointsman.daemon.checker.runner import Runner, SessionRunner
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.tracked_file import write_initial_number
from pointsman.health import check_types
from pointsman.health.schedule import phases
from pointsman.lvs.desired import CheckKey
from pointsman.model.checks import BfdCheck, FileCheck, without_location
from pointsman.model.config import Config
from pointsman.model.health import AnyCheck, VirtualServer
from pointsman.model.naming import server_name, service_name

log = logging.getLogger("checker")

EXIT_STOPPED = 0
EXIT_CHANNEL_CLOSED = 1


class Checker:
    """The probes of a configuration: those that run programs, or all others."""

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        channel: DirectorChannel,
        loop: asyncio.AbstractEventLoop,
        programs: bool = False,
    ) -> None:
        """`programs`: True in pm-scripts, for the probes that run programs."""
        self._director = channel
        self._loop = loop
        self._programs = programs
        services = tuple(virtual_servers)
        if not programs:
            probe_sources().reconfigure(services)
        self._subscribed = _wanted(services, programs)
        self._ha_suspend = HaSuspend(loop, self._suspend)
        self._ha_suspend.reconfigure(services)
        self.runners: dict[AnyCheck, Runner] = {}
        self._sessions: dict[str, messages.SessionChanged] = {}
        for probe, keys in self._subscribed.items():
            self.runners[probe] = self._runner(probe)
            for key in keys:
                self.runners[probe].subscribe(key)
        _log_servers(key for keys in self._subscribed.values() for key in keys)

    def _runner(self, probe: AnyCheck) -> Runner:
        kind = SessionRunner if isinstance(probe, BfdCheck) else Runner
        return kind(probe, self._director, self._loop)

    def on_session_changed(self, report: messages.SessionChanged) -> None:
        """Pass the state of a BFD session to its checks."""
        self._sessions[report.session] = report
        for probe, runner in self.runners.items():
            if isinstance(probe, BfdCheck) and probe.session == report.session:
                assert isinstance(runner, SessionRunner)
                runner.on_session_changed(report.up, report.reason)

    def on_check_now(self, order: messages.CheckNow) -> None:
        """Start at once the waiting probes of a real server that may be down."""
        for probe, keys in self._subscribed.items():
            if any(key[:2] == (order.service, order.server) for key in keys):
                self.runners[probe].probe_now()

    def start(self) -> None:
        """Start every probe, spread over its warmup time."""
        # These objects stay. Without freeze each garbage collection would walk through them for tens of ms.
        gc.collect()
        gc.freeze()
        self._suspend()
        self._start(self.runners)

    def reconfigure(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Use another configuration. Checks that are in both keep running undisturbed."""
        services = tuple(virtual_servers)
        if not self._programs:
            probe_sources().reconfigure(services)
        wanted = _wanted(services, self._programs)
        before = {key for keys in self._subscribed.values() for key in keys}
        after = [key for keys in wanted.values() for key in keys]
        for probe in self._subscribed:
            if probe not in wanted:
                self.runners.pop(probe).stop()
        self._director.forget(before.difference(after))
        new: dict[AnyCheck, Runner] = {}
        for probe, keys in wanted.items():
            if probe not in self.runners:
                new[probe] = self.runners[probe] = self._runner(probe)
            self.runners[probe].set_subscribers(keys)
        self._subscribed = wanted
        known = {key[:2] for key in before}
        _log_servers(key for key in after if key[:2] not in known)
        self._ha_suspend.reconfigure(services)
        self._suspend()
        self._start(new)

    def _suspend(self) -> None:
        """Suspend or resume each probe by ha_suspend."""
        changed = [runner for runner in self.runners.values() if runner.suspend(self._is_suspended)]
        for runner in changed:
            for line in runner.suspension_lines():
                log.info("%s", line)

    def _is_suspended(self, key: CheckKey) -> bool:
        return self._ha_suspend.is_suspended(key[0])

    def _start(self, new: Mapping[AnyCheck, Runner]) -> None:
        for check in new:
            if isinstance(check, FileCheck):
                write_initial_number(check.file)
            elif isinstance(check, BfdCheck) and check.session in self._sessions:
                self.on_session_changed(self._sessions[check.session])
        by_warmup: defaultdict[float, list[Runner]] = defaultdict(list)
        for check, runner in new.items():
            by_warmup[check.warmup].append(runner)
        for warmup, runners in by_warmup.items():
            random.shuffle(runners)
            draws = [random.random() for _ in runners]
            for runner, phase in zip(runners, phases(draws, warmup), strict=True):
                runner.start(phase)

    def stop(self) -> None:
        """End every probe."""
        self._ha_suspend.close()
        for runner in self.runners.values():
            runner.stop()


def _wanted(virtual_servers: Iterable[VirtualServer], programs: bool) -> dict[AnyCheck, list[CheckKey]]:
    """Return the checks of each probe. `programs`: as in Checker."""
    wanted: dict[AnyCheck, list[CheckKey]] = {}
    for virtual in virtual_servers:
        for member in virtual.members:
            for check in dict.fromkeys(map(without_location, member.checks)):
                if check_types.runs_programs(check) is programs:
                    key = (virtual.service.key, member.server.key, check.identity)
                    wanted.setdefault(check, []).append(key)
    return wanted


def _log_servers(keys: Iterable[CheckKey]) -> None:
    for service, server in dict.fromkeys(key[:2] for key in keys):
        log.info(
            "Activating healthchecker for service %s for VS %s",
            server_name(service, server),
            service_name(service),
        )


async def check_until_stopped(
    checker: Checker,
    channel: DirectorChannel,
    reconfigure: Callable[[Config], None] | None = None,
    heartbeat: Heartbeat | None = None,
) -> int:
    """Run the probes until SIGTERM or until the channel is closed. Return the exit code of the process.

    `reconfigure`: called with a new configuration; None: only the checks use it.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    if heartbeat is not None:
        heartbeat.beat_in(asyncio.get_running_loop())
    channel.on_check_now = checker.on_check_now
    channel.on_new_configuration = reconfigure or (lambda config: checker.reconfigure(config.virtual_servers))
    checker.start()
    ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(channel.closed.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    checker.stop()
    return EXIT_STOPPED if stopped.is_set() else EXIT_CHANNEL_CLOSED


def _on_sessions_readable(inbox: Inbox[messages.SessionChanged], checker: Checker) -> None:
    """Handle the reports of the BFD process."""
    while (report := inbox.receive()) is not None:
        checker.on_session_changed(report)
    if inbox.closed:
        asyncio.get_running_loop().remove_reader(inbox.channel)


def run(
    virtual_servers: Iterable[VirtualServer],
    director: socket.socket,
    bfd: socket.socket | None = None,
    heartbeat: Heartbeat | None = None,
    serial: int = 0,
) -> int:
    """Check until SIGTERM (exit code 0) or until the director closes the channel (exit code 1).

    `director`: connected SOCK_SEQPACKET socket. The checker reports the first result of each check and each
    change. After `messages.Resync` it reports all results again. Checks that run programs are done by
    scripts/process.py. `bfd`: channel to the BFD process.
    """

    async def body() -> int:
        loop = asyncio.get_running_loop()
        channel = DirectorChannel(director, loop, serial, virtual_servers)
        checker = Checker(virtual_servers, channel, loop)
        if bfd is not None:
            bfd.setblocking(False)
            sessions = Inbox(bfd, messages.session_decoder, "BFD process", log)
            loop.add_reader(bfd, _on_sessions_readable, sessions, checker)
            with contextlib.suppress(OSError):
                bfd.send(messages.encode(messages.Resync()))
        return await check_until_stopped(checker, channel, heartbeat=heartbeat)

    # Each probe of a silent real server holds a descriptor for connect_timeout.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return asyncio.run(body())
