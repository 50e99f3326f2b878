# SPDX-License-Identifier: Apache-2.0
"""Schedule of a check: times of its probes and rules for its results, with keepalived's timing. A machine.

The rules of keepalived 2.2 (tcp_epilog in check_tcp.c; recorded in 8_keepalived.json of the golden files):

- The first probe is 1 s after the start, plus the check's own part of `warmup`.
- A success is a result at once. The next probe is after `delay_loop`.
- A failure is repeated after `delay_before_retry`, up to `retry` times. The failure after that is a result,
  and the next probe is after `delay_loop`.
- The very first probe is not repeated: one failure is a result.
- Delays count from the end of a probe. A real server that is down is retried like one that is up.

Checkers differ in two points (`Timing`): most do not retry a real server that is down, and MISC_CHECK counts
its delays from the start of a probe. `rise` is ours. HTTP checks have their own machine (health/urls.py).
"""

from __future__ import annotations

import abc

import msgspec

FIRST_PROBE_DELAY = 1.0
"""Seconds from the start of a check to the earliest first probe (keepalived: BOOTSTRAP_DELAY)."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a check in seconds."""

    delay_loop: float
    delay_before_retry: float
    retry: int
    """Number of repetitions of a failed probe before the real server is down."""
    retry_while_down: bool = True
    """True if a real server that is down is also retried after `delay_before_retry`."""
    from_start: bool = False
    """True if delays count from the start of a probe."""
    rise: int = 1
    """Number of consecutive successes that bring a real server back."""


class StartProbe(msgspec.Struct, frozen=True):
    """Start a probe. Its end is reported by `on_result` or `on_unable`."""

    step: int = 0
    """Index of the target, if the check has several: a URL."""


class Verdict(msgspec.Struct, frozen=True):
    """A new result of the check: the first one, or one that differs from the last."""

    up: bool
    reason: str
    attempts: int
    """Number of consecutive probes with this result."""


CheckEffect = StartProbe | Verdict


class Schedule(abc.ABC):
    """Schedule of one check (a `Machine`). Either a probe runs or a deadline is set."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._deadline: float | None = None
        self._up: bool | None = None
        self._step = 0
        """Index of the next target."""
        self._failures = 0
        """Number of consecutive failures."""
        self._began = 0.0
        self._effects: list[CheckEffect] = []

    @property
    def deadline(self) -> float | None:
        """Start time of the next probe. None before `start`, and while a probe runs."""
        return self._deadline

    @property
    def up(self) -> bool | None:
        """Present result. None before the first one."""
        return self._up

    def start(self, now: float, phase: float) -> None:
        """Schedule the first probe. `phase` is this check's part of the warm-up, 0 to `warmup` seconds."""
        self._deadline = now + FIRST_PROBE_DELAY + phase

    def resume(self, now: float, phase: float) -> None:
        """Schedule the next probe in `phase` seconds, after a suspension. A running probe is ignored."""
        self._deadline = now + phase

    def check_at_once(self, now: float) -> bool:
        """Start the next probe at once if the real server is up and the last probe passed. Return True if
        so."""
        if self._deadline is None or not self._up or self._failures:
            return False
        self._deadline = now
        return True

    def advance(self, now: float) -> None:
        """Start the probe if it is due."""
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            self._began = now
            self._effects.append(StartProbe(self._step))

    @abc.abstractmethod
    def on_result(self, now: float, ok: bool, reason: str) -> None:
        """Process the result of the running probe, which ended at `now`. `reason` is a text for the user."""

    def on_unable(self, now: float) -> None:
        """The probe was not possible for a local reason: keep the result, try again after `delay_loop`."""
        self._schedule_next(now, self._timing.delay_loop)

    def effects(self) -> list[CheckEffect]:
        """Return the effects since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def _schedule_next(self, now: float, seconds: float) -> None:
        """Schedule the next probe. A probe that took longer than its delay is followed at once."""
        self._deadline = max(now, self._began + seconds) if self._timing.from_start else now + seconds

    def _set_result(self, up: bool, reason: str) -> None:
        """Set a new result: the first one, or one that differs from the last."""
        self._up = up
        self._effects.append(Verdict(up, reason, 1 if up else self._failures))


class CheckSchedule(Schedule):
    """Schedule of a check with one target."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(timing)
        self._failures_left = 0
        self._successes = 0

    def on_result(self, now: float, ok: bool, reason: str) -> None:
        self._failures = 0 if ok else self._failures + 1
        self._successes = self._successes + 1 if ok else 0
        if not ok and self._failures_left > 0:
            self._failures_left -= 1
            self._schedule_next(now, self._timing.delay_before_retry)
            return
        self._failures_left = self._timing.retry if ok or self._timing.retry_while_down else 0
        self._schedule_next(now, self._timing.delay_loop)
        if ok and self._up is False and self._successes < self._timing.rise:
            return
        if ok is not self._up:
            self._set_result(ok, reason)


def phases(draws: list[float], warmup: float) -> list[float]:
    """Spread checks over a warm-up, one in each of as many equal slots, so that few start together.

    `draws` has one number in [0, 1) per check: its place in its slot.
    """
    return [(slot + draw) / len(draws) * warmup for slot, draw in enumerate(draws)]
