"""When a check runs and when its results make a verdict: keepalived's timing, as a machine.

The rule of keepalived 2.2 (tcp_epilog in check_tcp.c; recorded in 8_keepalived.json of the golden files):

- the first probe comes 1 s after the start, plus the check's own share of `warmup`;
- a success is a verdict at once, and the next probe comes after `delay_loop`;
- a failure is repeated after `delay_before_retry`, up to `retry` times; the failure after that is a verdict,
  and the next probe comes after `delay_loop`;
- the very first probe has no repetition: one failure is enough;
- the pauses count from the end of a probe, and a real server that is down is retried like one that is up.

Checkers differ in two points (`Timing`): most do not retry a real server that is down, and MISC_CHECK counts
its pauses from the start of a probe. `rise` is ours. HTTP checks have their own machine (health/urls.py).
"""

from __future__ import annotations

import abc

import msgspec

FIRST_PROBE_DELAY = 1.0
"""Seconds between the start of a check and the earliest first probe (keepalived: BOOTSTRAP_DELAY)."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The times of one check, in seconds."""

    delay_loop: float
    delay_before_retry: float
    retry: int
    """Repetitions of a failed probe before the verdict."""
    retry_while_down: bool = True
    """Whether a real server that is down is retried after `delay_before_retry`, too."""
    from_start: bool = False
    """Whether pauses count from the start of a probe."""
    rise: int = 1
    """Successes in a row that bring a real server back."""


class StartProbe(msgspec.Struct, frozen=True):
    """Begin one probe; its end is told by `result` or `unable`."""

    step: int = 0
    """Which of a check's several targets: the index of a URL."""


class Verdict(msgspec.Struct, frozen=True):
    """The check has an opinion: for the first time, or another one than before."""

    up: bool
    reason: str
    attempts: int
    """Probes in a row that agree."""


CheckEffect = StartProbe | Verdict


class Schedule(abc.ABC):
    """One check of one target (a `Machine`); exactly one probe is under way or one deadline is set."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._deadline: float | None = None
        self._up: bool | None = None
        self._step = 0
        """Which of several targets is next."""
        self._failures = 0
        """In a row."""
        self._began = 0.0
        self._effects: list[CheckEffect] = []

    @property
    def deadline(self) -> float | None:
        """When the next probe starts; None before `started` and while a probe is under way."""
        return self._deadline

    @property
    def up(self) -> bool | None:
        """The verdict in force; None before the first one."""
        return self._up

    def started(self, now: float, phase: float) -> None:
        """Plan the first probe; `phase` is this check's share of its warm-up, 0 to `warmup` seconds."""
        self._deadline = now + FIRST_PROBE_DELAY + phase

    def resumed(self, now: float, phase: float) -> None:
        """After a pause: the next probe comes in `phase` seconds; a probe that was under way is forgotten."""
        self._deadline = now + phase

    def hurried(self, now: float) -> bool:
        """The next probe comes at once, if the real server is up and the last one passed; whether it does."""
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
    def result(self, now: float, ok: bool, reason: str) -> None:
        """The probe that was under way has ended at `now`; `reason` says how, for people."""

    def unable(self, now: float) -> None:
        """The probe could not be made, for a reason of our own host: no opinion, again after `delay_loop`."""
        self._pause(now, self._timing.delay_loop)

    def effects(self) -> list[CheckEffect]:
        """What is to be done since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def _pause(self, now: float, seconds: float) -> None:
        """Plan the next probe; one that took longer than its pause is followed at once."""
        self._deadline = max(now, self._began + seconds) if self._timing.from_start else now + seconds

    def _decide(self, up: bool, reason: str) -> None:
        """A verdict, the first one or another one than before."""
        self._up = up
        self._effects.append(Verdict(up, reason, 1 if up else self._failures))


class CheckSchedule(Schedule):
    """A check of one thing."""

    def __init__(self, timing: Timing) -> None:
        super().__init__(timing)
        self._failures_left = 0
        self._successes = 0

    def result(self, now: float, ok: bool, reason: str) -> None:
        self._failures = 0 if ok else self._failures + 1
        self._successes = self._successes + 1 if ok else 0
        if not ok and self._failures_left > 0:
            self._failures_left -= 1
            self._pause(now, self._timing.delay_before_retry)
            return
        self._failures_left = self._timing.retry if ok or self._timing.retry_while_down else 0
        self._pause(now, self._timing.delay_loop)
        if ok and self._up is False and self._successes < self._timing.rise:
            return
        if ok is not self._up:
            self._decide(ok, reason)


def phases(draws: list[float], warmup: float) -> list[float]:
    """Spread checks over a warm-up, one in each of as many equal slots, so that never many start together.

    `draws` are one number in [0, 1) a check: its place within its slot.
    """
    return [(slot + draw) / len(draws) * warmup for slot, draw in enumerate(draws)]
