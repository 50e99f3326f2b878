"""The process that checks real servers: it probes, keeps each check's schedule, and reports verdicts.

It needs no capability, but CAP_NET_RAW for a few kinds of checks. Equal checks of several services are one
probe. Verdicts go to the director over a SOCK_SEQPACKET channel, one message a datagram; while it is full,
the latest verdict of each check waits.
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
from collections.abc import Callable, Iterable, Iterator, Mapping

from pointsman.control import messages
from pointsman.daemon.checker.ha_suspend import HaSuspend
from pointsman.daemon.checker.probes import tls
from pointsman.daemon.checker.runner import Runner, SessionRunner
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.daemon.runtime.privileges import Capability
from pointsman.daemon.runtime.tracked_file import prepare
from pointsman.health import check_types
from pointsman.health.schedule import phases
from pointsman.lvs.desired import CheckKey
from pointsman.model.checks import BfdCheck, FileCheck
from pointsman.model.config import Config
from pointsman.model.health import AnyCheck, VirtualServer
from pointsman.model.naming import server_name, service_name

log = logging.getLogger("checker")

EXIT_STOPPED = 0
EXIT_CHANNEL_CLOSED = 1


def capabilities(virtual_servers: Iterable[VirtualServer]) -> set[Capability]:
    """What a checker of these services may not give up."""
    raw = any(check_types.needs_raw_sockets(check) for check in _all(virtual_servers))
    return {Capability.NET_RAW} if raw else set()


def fixed(virtual_servers: Iterable[VirtualServer]) -> object:
    """What a checker of these services cannot change while it runs."""
    services = tuple(virtual_servers)
    return capabilities(services), tls.state(_all(services))


def load_certificates(virtual_servers: Iterable[VirtualServer]) -> None:
    """Read what only root may; before the checker becomes nobody."""
    tls.load(_all(virtual_servers))


def _all(virtual_servers: Iterable[VirtualServer]) -> Iterator[AnyCheck]:
    return (check for virtual in virtual_servers for member in virtual.members for check in member.checks)


class Checker:
    """All probes of a configuration that run programs, or all others."""

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        reporter: DirectorChannel,
        loop: asyncio.AbstractEventLoop,
        programs: bool = False,
    ) -> None:
        self._reporter = reporter
        self._loop = loop
        self._programs = programs
        services = tuple(virtual_servers)
        self._subscribed = _wanted(services, programs)
        self._suspension = HaSuspend(loop, self._suspend)
        self._suspension.use(services)
        self.runners: dict[AnyCheck, Runner] = {}
        self._sessions: dict[str, messages.SessionChanged] = {}
        for probe, keys in self._subscribed.items():
            self.runners[probe] = self._runner(probe)
            for key in keys:
                self.runners[probe].subscribe(key)
        _log_servers(key for keys in self._subscribed.values() for key in keys)

    def _runner(self, probe: AnyCheck) -> Runner:
        kind = SessionRunner if isinstance(probe, BfdCheck) else Runner
        return kind(probe, self._reporter, self._loop)

    def hear(self, told: messages.SessionChanged) -> None:
        """A BFD session has changed, or its state is told again."""
        self._sessions[told.session] = told
        for probe, runner in self.runners.items():
            if isinstance(probe, BfdCheck) and probe.session == told.session:
                assert isinstance(runner, SessionRunner)
                runner.hear(told.up, told.reason)

    def suspect(self, order: messages.CheckNow) -> None:
        """A real server may not answer: its probes that are waiting for their time begin now."""
        for probe, keys in self._subscribed.items():
            if any(key[:2] == (order.service, order.server) for key in keys):
                self.runners[probe].hurry()

    def start(self) -> None:
        """Start every probe, spread over its warm-up."""
        # What is there now stays: the garbage collector need not walk through it, tens of ms each time.
        gc.collect()
        gc.freeze()
        self._suspend()
        self._start(self.runners)

    def adopt(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Go on with another configuration: checks that are in both do not notice."""
        services = tuple(virtual_servers)
        wanted = _wanted(services, self._programs)
        before = {key for keys in self._subscribed.values() for key in keys}
        after = [key for keys in wanted.values() for key in keys]
        for probe in self._subscribed:
            if probe not in wanted:
                self.runners.pop(probe).stop()
        self._reporter.forget(before.difference(after))
        fresh: dict[AnyCheck, Runner] = {}
        for probe, keys in wanted.items():
            if probe not in self.runners:
                fresh[probe] = self.runners[probe] = self._runner(probe)
            self.runners[probe].take_over(keys)
        self._subscribed = wanted
        known = {key[:2] for key in before}
        _log_servers(key for key in after if key[:2] not in known)
        self._suspension.use(services)
        self._suspend()
        self._start(fresh)

    def _suspend(self) -> None:
        """Probe only for services that are to be checked."""
        changed = [runner for runner in self.runners.values() if runner.suspend(self._waits)]
        for runner in changed:
            for line in runner.suspension_lines():
                log.info("%s", line)

    def _waits(self, key: CheckKey) -> bool:
        return self._suspension.waits(key[0])

    def _start(self, fresh: Mapping[AnyCheck, Runner]) -> None:
        for check in fresh:
            if isinstance(check, FileCheck):
                prepare(check.file)
            elif isinstance(check, BfdCheck) and check.session in self._sessions:
                self.hear(self._sessions[check.session])
        by_warmup: defaultdict[float, list[Runner]] = defaultdict(list)
        for check, runner in fresh.items():
            by_warmup[check.warmup].append(runner)
        for warmup, runners in by_warmup.items():
            random.shuffle(runners)
            draws = [random.random() for _ in runners]
            for runner, phase in zip(runners, phases(draws, warmup), strict=True):
                runner.start(phase)

    def stop(self) -> None:
        """End every probe."""
        self._suspension.close()
        for runner in self.runners.values():
            runner.stop()


def _wanted(virtual_servers: Iterable[VirtualServer], programs: bool) -> dict[AnyCheck, list[CheckKey]]:
    """The probes, and the checks that each of them is for; `programs` as in Checker."""
    wanted: dict[AnyCheck, list[CheckKey]] = {}
    for virtual in virtual_servers:
        for member in virtual.members:
            for check in dict.fromkeys(map(check_types.without_location, member.checks)):
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
    checker: Checker, reporter: DirectorChannel, adopt: Callable[[Config], None] | None = None
) -> int:
    """Run these probes until SIGTERM or the end of the channel; the exit code of the process.

    `adopt` takes a new configuration; None: it is about the checks alone.
    """
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    reporter.on_suspicion = checker.suspect
    reporter.on_configuration = adopt or (lambda config: checker.adopt(config.virtual_servers))
    checker.start()
    ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(reporter.closed.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    checker.stop()
    return EXIT_STOPPED if stopped.is_set() else EXIT_CHANNEL_CLOSED


def _hear_sessions(inbox: Inbox[messages.SessionChanged], checker: Checker) -> None:
    """Take in everything that the BFD process has said."""
    while (told := inbox.receive()) is not None:
        checker.hear(told)
    if inbox.closed:
        asyncio.get_running_loop().remove_reader(inbox.channel)


def run(
    virtual_servers: Iterable[VirtualServer], channel: socket.socket, bfd: socket.socket | None = None
) -> int:
    """Check until SIGTERM (exit code 0) or until the director closes `channel` (exit code 1).

    `channel` is a connected SOCK_SEQPACKET socket. Reports the first verdict of each check and each change; a
    `messages.Resync` from the director brings all verdicts in force again, a configuration changes the
    checks. Checks that run programs are not its business (scripts/process.py).
    `bfd` leads to the BFD process.
    """

    async def body() -> int:
        loop = asyncio.get_running_loop()
        reporter = DirectorChannel(channel, loop)
        checker = Checker(virtual_servers, reporter, loop)
        if bfd is not None:
            bfd.setblocking(False)
            sessions = Inbox(bfd, messages.session_decoder, "BFD process", log)
            loop.add_reader(bfd, _hear_sessions, sessions, checker)
            with contextlib.suppress(OSError):
                bfd.send(messages.encode(messages.Resync()))
        return await check_until_stopped(checker, reporter)

    # Every silent real server holds a descriptor for connect_timeout.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return asyncio.run(body())
