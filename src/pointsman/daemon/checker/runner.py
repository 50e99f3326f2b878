"""One probe target with its schedule: probes when they are due, verdicts to whom they concern."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from pointsman.control import messages
from pointsman.daemon.checker.probes.choice import probe_for
from pointsman.daemon.checker.probes.probe import Outcome, Probe, Result
from pointsman.daemon.checker.probes.tcp import TcpProbe
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.health import check_types
from pointsman.health.schedule import StartProbe, Verdict
from pointsman.lvs.desired import CheckKey
from pointsman.model.health import AnyCheck
from pointsman.model.naming import server_name, service_name

log = logging.getLogger("checker")


class Runner:
    """One probe target with its schedule, on behalf of every check that is equal to it."""

    def __init__(self, check: AnyCheck, reporter: DirectorChannel, loop: asyncio.AbstractEventLoop) -> None:
        self._check = check
        self._reporter = reporter
        self._loop = loop
        self._schedule = check_types.build_schedule(check)
        self._subscribers: list[CheckKey] = []
        self._probe: Probe | None = None
        self._again: TcpProbe | None = None
        """One that has been used before."""
        self._timer: asyncio.TimerHandle | None = None
        self._once = LogOnce(log)
        self._measured: tuple[int, int | None] = (0, None)
        """Weight change and weight of the last success (Result)."""
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
        self._schedule.start(self._loop.time(), phase)
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
            self._schedule.resume(self._loop.time(), random.random() * min(self._check.warmup, 1.0))
            self._arm()
        return True

    def hurry(self) -> None:
        """Probe now, if that is not under way and nothing is known to be wrong yet."""
        if not self._suspended and self._schedule.check_at_once(self._loop.time()):
            if self._timer is not None:
                self._timer.cancel()
            self._arm()

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
            text = "%s; this says nothing about the real server, trying again"
            self._once.warning(result.reason, text, result.reason)
            self._schedule.on_unable(now)
        else:
            self._once.clear()
            passed = result.outcome is Outcome.PASSED
            measured = (result.weight_change, result.weight) if passed else self._measured
            changed = measured != self._measured
            self._measured = measured
            if not passed and self._check.log_all_failures:
                log.info("%s: %s", check_types.words(self._check).keyword, result.reason)
            self._schedule.on_result(now, passed, result.reason)
            if not self._carry_out() and changed and self._schedule.up:
                self._report(True, result.reason)
        self._arm()

    def _carry_out(self) -> bool:
        """Do what the schedule says; whether there was a verdict."""
        told = False
        for effect in self._schedule.effects():
            if isinstance(effect, StartProbe):
                self._probe = self._again or probe_for(self._check, effect.step, self._loop, self._finished)
                if isinstance(self._probe, TcpProbe):
                    self._again = self._probe
                self._probe.start()
            else:
                self._announce(effect)
                told = True
        return told

    def _announce(self, verdict: Verdict) -> None:
        names = dict.fromkeys(
            (server_name(service, server), service_name(service)) for service, server, _ in self._subscribers
        )
        for line in dict.fromkeys(check_types.log_line(self._check, *name, verdict) for name in names):
            log.info("%s", line)
        reason = (
            verdict.reason if verdict.up else check_types.describe_failures(verdict.reason, verdict.attempts)
        )
        self._report(verdict.up, reason)

    def _report(self, up: bool, reason: str) -> None:
        self._reason = reason
        self._tell(self._subscribers, up, reason)

    def _tell(self, keys: Iterable[CheckKey], up: bool, reason: str) -> None:
        change, weight = self._measured if up else (0, None)
        for service, server, check in keys:
            self._reporter.report(messages.CheckResult(service, server, check, up, reason, change, weight))


class SessionRunner(Runner):
    """BFD_CHECK: nothing is probed; the BFD process says what its session is like."""

    def start(self, phase: float) -> None:
        """There is no time to wait for."""

    def suspend(self, is_waiting: Callable[[CheckKey], bool]) -> bool:
        """Packets come anyway."""
        return False

    def hear(self, up: bool, reason: str) -> None:
        """The session has changed."""
        self._schedule.on_result(self._loop.time(), up, reason)
        self._carry_out()
