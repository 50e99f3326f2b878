"""The process that checks real servers: it probes, keeps each check's schedule, and reports verdicts.

It needs no capability, but CAP_NET_RAW for a few kinds of checks. Equal checks of several services are one
probe. Verdicts go to the director over a SOCK_SEQPACKET channel, one message a datagram; while it is full,
the latest verdict of each check waits.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import resource
import signal
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from pointsman.daemon import messages
from pointsman.daemon.generations import receive
from pointsman.daemon.privileges import Capability
from pointsman.daemon.probes.choice import probe_for
from pointsman.daemon.probes.probe import Outcome, Probe, Result
from pointsman.daemon.suspension import Suspension
from pointsman.daemon.vrrp_watches import prepare
from pointsman.health import kinds
from pointsman.health.schedule import StartProbe, Verdict, phases
from pointsman.lvs.desired import CheckKey
from pointsman.model.checks import FileCheck
from pointsman.model.config import Config
from pointsman.model.health import AnyCheck, VirtualServer
from pointsman.model.naming import server_name, service_name

log = logging.getLogger("checker")

EXIT_STOPPED = 0
EXIT_CHANNEL_CLOSED = 1


class Reporter:
    """Sends verdicts to the director; never blocks, never loses the latest verdict of a check."""

    def __init__(self, channel: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        self._loop = loop
        self._waiting: dict[CheckKey, messages.CheckResult] = {}
        self._latest: dict[CheckKey, messages.CheckResult] = {}
        self.on_configuration: Callable[[Config], None] = lambda _config: None
        """Called when the director hands over another configuration."""
        self.on_program: Callable[[messages.RunProgram], None] = lambda _order: None
        """Called when the director wants a program to be run."""
        self.closed = asyncio.Event()
        channel.setblocking(False)
        loop.add_reader(channel, self._on_order)

    def report(self, result: messages.CheckResult) -> None:
        """Send a verdict now, or as soon as the channel has room."""
        key = (result.service, result.server, result.check)
        self._latest[key] = result
        self._waiting[key] = result
        self._flush()

    def forget(self, keys: Iterable[CheckKey]) -> None:
        """These checks are no more, or others now."""
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
                self._close(f"cannot report to the director: {error.strerror}")
                return
            del self._waiting[key]
        self._loop.remove_writer(self._channel)

    def _on_order(self) -> None:
        try:
            data, config = receive(self._channel)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(f"cannot hear the director: {error.strerror}")
            return
        except msgspec.MsgspecError as error:
            log.error("configuration not understood, the former one stays: %s", error)
            return
        if config is not None:
            self.on_configuration(config)
            return
        if not data:
            self._close("the director has closed the channel")
            return
        try:
            order = messages.decode_order(data)
        except msgspec.DecodeError as error:
            log.error("message of the director not understood: %s", error)
            return
        if isinstance(order, messages.RunProgram):
            self.on_program(order)
            return
        self._waiting = dict(self._latest)
        self._flush()

    def _close(self, why: str) -> None:
        if self.closed.is_set():
            return
        log.error("%s", why)
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self.closed.set()


def capabilities(virtual_servers: Iterable[VirtualServer]) -> set[Capability]:
    """What a checker of these services may not give up."""
    checks = (check for virtual in virtual_servers for member in virtual.members for check in member.checks)
    return {Capability.NET_RAW} if any(kinds.needs_raw_sockets(check) for check in checks) else set()


class Runner:
    """One probe target with its schedule, on behalf of every check that is equal to it."""

    def __init__(self, check: AnyCheck, reporter: Reporter, loop: asyncio.AbstractEventLoop) -> None:
        self._check = check
        self._reporter = reporter
        self._loop = loop
        self._schedule = kinds.schedule(check)
        self._subscribers: list[CheckKey] = []
        self._probe: Probe | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unable = ""
        self._weight_change = 0
        self._reason = ""
        self._suspended = False

    def take_over(self, keys: list[CheckKey]) -> None:
        """Work for these checks from now on; those that are new here get the verdict in force."""
        new = [key for key in keys if key not in self._subscribers]
        self._subscribers = keys
        if self._schedule.up is not None:
            self._tell(new, self._schedule.up, self._reason)

    def subscribe(self, key: CheckKey) -> None:
        """Report verdicts for this check too."""
        self._subscribers.append(key)

    def start(self, phase: float) -> None:
        """Begin; `phase` as in CheckSchedule.started."""
        self._schedule.started(self._loop.time(), phase)
        if not self._suspended:
            self._arm()

    def stop(self) -> None:
        """No more probes."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def suspend(self, is_waiting: Callable[[CheckKey], bool]) -> bool:
        """Pause while all of its services wait, go on when one does not; whether that is a change."""
        suspended = all(map(is_waiting, self._subscribers))
        if suspended is self._suspended:
            return False
        self._suspended = suspended
        if suspended:
            self.stop()
        else:
            # What it knows is old: look at once, but not all at the same moment.
            self._schedule.resumed(self._loop.time(), random.random() * min(self._check.warmup, 1.0))
            self._arm()
        return True

    def suspension_lines(self) -> list[str]:
        """keepalived's words about whether it is suspended."""
        word = "Suspending" if self._suspended else "Activating"
        names = dict.fromkeys(
            (server_name(service, server), service_name(service)) for service, server, _ in self._subscribers
        )
        return [f"{word} healthchecker for service {name} for VS {vs}" for name, vs in names]

    def _arm(self) -> None:
        """Wait for the schedule's deadline; while a probe is under way there is none."""
        if self._schedule.deadline is not None:
            self._timer = self._loop.call_at(self._schedule.deadline, self._due)

    def _due(self) -> None:
        # asyncio may wake us a clock tick early; the deadline itself is then what we call now.
        now = max(self._loop.time(), self._schedule.deadline or 0.0)
        self._schedule.advance(now)
        self._carry_out()

    def _finished(self, result: Result) -> None:
        self._probe = None
        now = self._loop.time()
        if result.outcome is Outcome.UNABLE:
            self._tell_unable(result.reason)
            self._schedule.unable(now)
        else:
            self._unable = ""
            passed = result.outcome is Outcome.PASSED
            changed = passed and result.weight_change != self._weight_change
            if passed:
                self._weight_change = result.weight_change
            if not passed and self._check.log_all_failures:
                log.info("%s: %s", kinds.words(self._check).keyword, result.reason)
            self._schedule.result(now, passed, result.reason)
            if not self._carry_out() and changed and self._schedule.up:
                self._report(True, result.reason)
        self._arm()

    def _carry_out(self) -> bool:
        """Do what the schedule says; whether there was a verdict."""
        told = False
        for effect in self._schedule.effects():
            if isinstance(effect, StartProbe):
                self._probe = probe_for(self._check, effect.step, self._loop, self._finished)
                self._probe.start()
            else:
                self._announce(effect)
                told = True
        return told

    def _announce(self, verdict: Verdict) -> None:
        names = dict.fromkeys(
            (server_name(service, server), service_name(service)) for service, server, _ in self._subscribers
        )
        for line in dict.fromkeys(kinds.log_line(self._check, *name, verdict) for name in names):
            log.info("%s", line)
        reason = verdict.reason if verdict.up else kinds.repeated(verdict.reason, verdict.attempts)
        self._report(verdict.up, reason)

    def _report(self, up: bool, reason: str) -> None:
        self._reason = reason
        self._tell(self._subscribers, up, reason)

    def _tell(self, keys: Iterable[CheckKey], up: bool, reason: str) -> None:
        change = self._weight_change if up else 0
        for service, server, index in keys:
            self._reporter.report(
                messages.CheckResult(
                    service=service, server=server, check=index, up=up, reason=reason, weight_change=change
                )
            )

    def _tell_unable(self, reason: str) -> None:
        """Say it once, not at every attempt."""
        if reason != self._unable:
            log.warning("%s; this says nothing about the real server, trying again", reason)
            self._unable = reason


class Checker:
    """All probes of a configuration that run programs, or all others."""

    def __init__(
        self,
        virtual_servers: Iterable[VirtualServer],
        reporter: Reporter,
        loop: asyncio.AbstractEventLoop,
        programs: bool = False,
    ) -> None:
        self._reporter = reporter
        self._loop = loop
        self._programs = programs
        services = tuple(virtual_servers)
        self._subscribed = _wanted(services, programs)
        self._suspension = Suspension(loop, self._suspend)
        self._suspension.use(services)
        self.runners: dict[AnyCheck, Runner] = {}
        for probe, keys in self._subscribed.items():
            self.runners[probe] = Runner(probe, reporter, loop)
            for key in keys:
                self.runners[probe].subscribe(key)
        _log_servers(key for keys in self._subscribed.values() for key in keys)

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
        before = {key: probe for probe, keys in self._subscribed.items() for key in keys}
        after = {key: probe for probe, keys in wanted.items() for key in keys}
        for probe in self._subscribed:
            if probe not in wanted:
                self.runners.pop(probe).stop()
        self._reporter.forget(key for key, probe in before.items() if after.get(key) != probe)
        fresh: dict[AnyCheck, Runner] = {}
        for probe, keys in wanted.items():
            if probe not in self.runners:
                fresh[probe] = self.runners[probe] = Runner(probe, self._reporter, self._loop)
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
            for index, check in enumerate(member.checks):
                if kinds.runs_programs(check) is not programs:
                    continue
                key = (virtual.service.key, member.server.key, index)
                wanted.setdefault(kinds.sharable(check), []).append(key)
    return wanted


def _log_servers(keys: Iterable[CheckKey]) -> None:
    for service, server in dict.fromkeys(key[:2] for key in keys):
        log.info(
            "Activating healthchecker for service %s for VS %s",
            server_name(service, server),
            service_name(service),
        )


async def check_until_stopped(checker: Checker, reporter: Reporter) -> int:
    """Run these probes until SIGTERM or the end of the channel; the exit code of the process."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    reporter.on_configuration = lambda config: checker.adopt(config.virtual_servers)
    checker.start()
    ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(reporter.closed.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    checker.stop()
    return EXIT_STOPPED if stopped.is_set() else EXIT_CHANNEL_CLOSED


def run(virtual_servers: Iterable[VirtualServer], channel: socket.socket) -> int:
    """Check until SIGTERM (exit code 0) or until the director closes `channel` (exit code 1).

    `channel` is a connected SOCK_SEQPACKET socket. Reports the first verdict of each check and each change; a
    `messages.SendVerdicts` from the director brings all verdicts in force again, a configuration changes the
    checks. Checks that run programs are not its business (health_programs.py).
    """

    async def body() -> int:
        loop = asyncio.get_running_loop()
        reporter = Reporter(channel, loop)
        checker = Checker(virtual_servers, reporter, loop)
        return await check_until_stopped(checker, reporter)

    # Every silent real server holds a descriptor for connect_timeout.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return asyncio.run(body())
