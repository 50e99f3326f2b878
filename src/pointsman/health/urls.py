"""When an HTTP check fetches which of its URLs, and when that makes a verdict (epilog in check_http.c).

- One URL a probe, `delay_loop` between them; a real server is up when all have passed in a row.
- A URL that fails is fetched again after `delay_before_retry`, up to `retry` times; the failure after that is
  the verdict. The very first probe has no repetition, nor has any of the first round.
- The URL that has failed is then asked again and again, after the longer of the two delays. When it answers,
  all URLs have to pass once more, from the first one on.
- `fast_recovery` leaves the pauses between URLs out, in the first round and on the way back.
"""

from __future__ import annotations

from pointsman.health.schedule import FIRST_PROBE_DELAY, CheckEffect, StartProbe, Timing, Verdict


class UrlSchedule:
    """One HTTP check (a `Machine`); the same inputs and effects as CheckSchedule, one step a URL."""

    def __init__(self, timing: Timing, urls: int, fast_recovery: bool) -> None:
        self._timing = timing
        self._urls = urls
        self._fast = fast_recovery
        self._deadline: float | None = None
        self._up: bool | None = None
        self._url = 0
        self._failed = False
        """Whether the present URL is the one that brought the real server down."""
        self._first_round = True
        self._attempts_left = 0
        self._failures = 0
        self._rounds = 0
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
        """Plan the first probe, as CheckSchedule.started."""
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
            self._effects.append(StartProbe(self._url))

    def result(self, now: float, ok: bool, reason: str) -> None:
        """The probe of the present URL has ended at `now`."""
        if ok:
            self._passed(now, reason)
        else:
            self._missed(now, reason)

    def unable(self, now: float) -> None:
        """The probe could not be made, for a reason of our own host: no opinion, again after `delay_loop`."""
        self._deadline = now + self._timing.delay_loop

    def effects(self) -> list[CheckEffect]:
        """What is to be done since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def _passed(self, now: float, reason: str) -> None:
        self._failures = 0
        whole_round = not self._failed and self._url == self._urls - 1
        self._url = 0 if self._failed or whole_round else self._url + 1
        self._failed = False
        if whole_round:
            self._first_round = False
            self._rounds += 1
            if self._up is None or (self._up is False and self._rounds >= self._timing.rise):
                self._up = True
                self._effects.append(Verdict(True, reason, 1))
        self._attempts_left = 0 if self._first_round else self._timing.retry
        hurry = self._fast and not whole_round and (self._first_round or self._up is False)
        self._deadline = now + (0.0 if hurry else self._timing.delay_loop)

    def _missed(self, now: float, reason: str) -> None:
        self._failures += 1
        self._rounds = 0
        self._first_round = False
        if self._up is not False:
            if self._attempts_left > 0:
                self._attempts_left -= 1
            else:
                self._up, self._failed = False, True
                self._effects.append(Verdict(False, reason, self._failures))
        before_retry, delay_loop = self._timing.delay_before_retry, self._timing.delay_loop
        if self._failed:
            pause = max(before_retry, delay_loop)
        else:
            # On the way back nothing counts attempts, so they must not follow each other at once.
            pause = before_retry or (delay_loop if self._up is False else 0.0)
        self._deadline = now + pause
