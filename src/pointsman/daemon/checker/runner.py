# SPDX-License-Identifier: Apache-2.0
"""Runner of one probe: starts it on schedule, and sends results for every check that shares it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from pointsman.control import messages
from pointsman.daemon.checker.deadlines import Handle, deadlines
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
    """One probe with its schedule, shared by all equal checks."""

    def __init__(self, check: AnyCheck, channel: DirectorChannel, loop: asyncio.AbstractEventLoop) -> None:
        self._check = check
        self._director = channel
        self._loop = loop
        self._schedule = check_types.build_schedule(check)
        self._subscribers: list[CheckKey] = []
        self._probe: Probe | None = None
        self._tcp_probe: TcpProbe | None = None
        """A TcpProbe is reused."""
        self._deadlines = deadlines(loop)
        self._timer: Handle | None = None
        self._once = LogOnce(log)
        self._measured: tuple[int, int | None] = (0, None)
        """Weight change and weight of the last passed probe; see Result."""
        self._reason = ""
        self._last: Result | None = None
        """Result of the last probe, if it passed and the next one like it changes nothing."""
        self._is_verbose = log.isEnabledFor(logging.DEBUG)
        self._suspended = False

    def set_subscribers(self, keys: list[CheckKey]) -> None:
        """Work for these checks. Send the current result for those that are new."""
        new = [key for key in keys if key not in self._subscribers]
        self._subscribers = keys
        if self._schedule.up is not None:
            self._send(new, self._schedule.up, self._reason)

    def subscribe(self, key: CheckKey) -> None:
        """Send results for this check too."""
        self._subscribers.append(key)

    def start(self, phase: float) -> None:
        """Start the schedule. `phase`: as in CheckSchedule.start."""
        self._schedule.start(self._loop.time(), phase)
        if not self._suspended:
            self._arm()

    def stop(self) -> None:
        """Stop probing."""
        self._disarm()
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def suspend(self, is_suspended: Callable[[CheckKey], bool]) -> bool:
        """Suspend the probe if all of its checks are suspended, else resume it. Return True if it changed."""
        suspended = all(map(is_suspended, self._subscribers))
        if suspended is self._suspended:
            return False
        self._suspended = suspended
        if suspended:
            self.stop()
        else:
            # The last result is old: probe soon, but not all runners at the same moment.
            self._schedule.resume(self._loop.time(), random.random() * min(self._check.warmup, 1.0))
            self._arm()
        return True

    def probe_now(self) -> None:
        """Probe now, unless a probe is running or the check has failed already."""
        if not self._suspended and self._schedule.check_at_once(self._loop.time()):
            self._disarm()
            self._arm()

    def suspension_lines(self) -> list[str]:
        """Return the log lines of keepalived about suspending or activating its checks."""
        word = "Suspending" if self._suspended else "Activating"
        names = dict.fromkeys(
            (server_name(service, server), service_name(service)) for service, server, _ in self._subscribers
        )
        return [f"{word} healthchecker for service {name} for VS {vs}" for name, vs in names]

    def _arm(self) -> None:
        """Set a timer for the deadline of the schedule. There is none while a probe runs."""
        if self._schedule.deadline is not None:
            self._timer = self._deadlines.add(self._schedule.deadline, self._due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._deadlines.cancel(self._timer)

    def _due(self, now: float) -> None:
        self._schedule.advance(now)
        self._carry_out()

    def _finished(self, result: Result) -> None:
        self._probe = None
        now = self._loop.time()
        if result is self._last and not self._is_verbose:
            self._schedule.on_result(now, True, result.reason)
            self._arm()
            return
        self._last = None
        if result.outcome is Outcome.UNABLE:
            text = "%s; this says nothing about the real server, retrying"
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
            word = "passed" if passed else "failed"
            log.debug("%s %s: %s", check_types.words(self._check).keyword, word, result.reason)
            self._schedule.on_result(now, passed, result.reason)
            if not self._carry_out() and changed and self._schedule.up:
                self._report(True, result.reason)
            if passed and self._schedule.up:
                self._last = result
        self._arm()

    def _carry_out(self) -> bool:
        """Carry out the effects of the schedule. Return True if there was a verdict."""
        has_verdict = False
        for effect in self._schedule.effects():
            if isinstance(effect, StartProbe):
                self._probe = self._tcp_probe or probe_for(
                    self._check, effect.step, self._loop, self._finished
                )
                if isinstance(self._probe, TcpProbe):
                    self._tcp_probe = self._probe
                self._probe.start()
            else:
                self._announce(effect)
                has_verdict = True
        return has_verdict

    def _announce(self, verdict: Verdict) -> None:
        names = dict.fromkeys(
            (server_name(service, server), service_name(service)) for service, server, _ in self._subscribers
        )
        for line in dict.fromkeys(check_types.log_line(self._check, *name, verdict) for name in names):
            log.log(logging.INFO if verdict.up else logging.WARNING, "%s", line)
        reason = (
            verdict.reason if verdict.up else check_types.describe_failures(verdict.reason, verdict.attempts)
        )
        self._report(verdict.up, reason)

    def _report(self, up: bool, reason: str) -> None:
        self._reason = reason
        self._send(self._subscribers, up, reason)

    def _send(self, keys: Iterable[CheckKey], up: bool, reason: str) -> None:
        change, weight = self._measured if up else (0, None)
        for service, server, check in keys:
            self._director.send_result(
                messages.CheckResult(service, server, check, up, reason, change, weight)
            )


class SessionRunner(Runner):
    """BFD_CHECK: sends no probes. The result is the state of a BFD session."""

    def start(self, phase: float) -> None:
        """Do nothing: there is no schedule."""

    def suspend(self, is_suspended: Callable[[CheckKey], bool]) -> bool:
        """Do nothing: the BFD session runs anyway."""
        return False

    def on_session_changed(self, up: bool, reason: str) -> None:
        """Use the state of the session as the result of the check."""
        self._schedule.on_result(self._loop.time(), up, reason)
        self._carry_out()
