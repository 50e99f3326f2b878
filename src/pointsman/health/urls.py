"""When an HTTP check fetches which of its URLs, and when that makes a verdict (epilog in check_http.c).

- One URL a probe, `delay_loop` between them; a real server is up when all have passed in a row.
- A URL that fails is fetched again after `delay_before_retry`, up to `retry` times; the failure after that is
  the verdict. The very first probe has no repetition, nor has any of the first round.
- The URL that has failed is then asked again and again, after the longer of the two delays. When it answers,
  all URLs have to pass once more, from the first one on.
- `fast_recovery` leaves the pauses between URLs out, in the first round and on the way back.
"""

from __future__ import annotations

from pointsman.health.schedule import Schedule, Timing


class UrlSchedule(Schedule):
    """A check of several URLs, one a probe; an HTTP check."""

    def __init__(self, timing: Timing, urls: int, fast_recovery: bool) -> None:
        super().__init__(timing)
        self._urls = urls
        self._fast = fast_recovery
        self._failed = False
        """Whether the present URL is the one that brought the real server down."""
        self._first_round = True
        self._attempts_left = 0
        self._rounds = 0

    def result(self, now: float, ok: bool, reason: str) -> None:
        if ok:
            self._passed(now, reason)
        else:
            self._missed(now, reason)

    def _passed(self, now: float, reason: str) -> None:
        self._failures = 0
        whole_round = not self._failed and self._step == self._urls - 1
        self._step = 0 if self._failed or whole_round else self._step + 1
        self._failed = False
        if whole_round:
            self._first_round = False
            self._rounds += 1
            if self._up is None or (self._up is False and self._rounds >= self._timing.rise):
                self._decide(True, reason)
        self._attempts_left = 0 if self._first_round else self._timing.retry
        hurry = self._fast and not whole_round and (self._first_round or self._up is False)
        self._pause(now, 0.0 if hurry else self._timing.delay_loop)

    def _missed(self, now: float, reason: str) -> None:
        self._failures += 1
        self._rounds = 0
        self._first_round = False
        if self._up is not False:
            if self._attempts_left > 0:
                self._attempts_left -= 1
            else:
                self._failed = True
                self._decide(False, reason)
        before_retry, delay_loop = self._timing.delay_before_retry, self._timing.delay_loop
        if self._failed:
            pause = max(before_retry, delay_loop)
        else:
            # On the way back nothing counts attempts, so they must not follow each other at once.
            pause = before_retry or (delay_loop if self._up is False else 0.0)
        self._pause(now, pause)
