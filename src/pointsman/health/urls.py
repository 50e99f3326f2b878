# SPDX-License-Identifier: Apache-2.0
"""Schedule of an HTTP check with several URLs, and the rules for its results (epilog in check_http.c).

- Each probe fetches one URL, with `delay_loop` between them. A real server is up when all have passed in
  a row.
- A URL that fails is fetched again after `delay_before_retry`, up to `retry` times. The failure after that is
  the result. In the first round there are no repetitions.
- The URL that has failed is then fetched repeatedly, after the longer of the two delays. When it passes, all
  URLs must pass again, from the first one.
- `fast_recovery` removes the delays between URLs in the first round and during recovery.
"""

from __future__ import annotations

from pointsman.health.schedule import Schedule, Timing


class UrlSchedule(Schedule):
    """Schedule of an HTTP check with several URLs, one per probe."""

    def __init__(self, timing: Timing, urls: int, fast_recovery: bool) -> None:
        super().__init__(timing)
        self._urls = urls
        self._fast = fast_recovery
        self._failed = False
        """True if the present URL brought the real server down."""
        self._first_round = True
        self._attempts_left = 0
        self._rounds = 0

    def on_result(self, now: float, ok: bool, reason: str) -> None:
        if ok:
            self._on_success(now, reason)
        else:
            self._on_failure(now, reason)

    def _on_success(self, now: float, reason: str) -> None:
        self._failures = 0
        whole_round = not self._failed and self._step == self._urls - 1
        self._step = 0 if self._failed or whole_round else self._step + 1
        self._failed = False
        if whole_round:
            self._first_round = False
            self._rounds += 1
            if self._up is None or (self._up is False and self._rounds >= self._timing.rise):
                self._set_result(True, reason)
        self._attempts_left = 0 if self._first_round else self._timing.retry
        hurry = self._fast and not whole_round and (self._first_round or self._up is False)
        self._schedule_next(now, 0.0 if hurry else self._timing.delay_loop)

    def _on_failure(self, now: float, reason: str) -> None:
        self._failures += 1
        self._rounds = 0
        self._first_round = False
        if self._up is not False:
            if self._attempts_left > 0:
                self._attempts_left -= 1
            else:
                self._failed = True
                self._set_result(False, reason)
        before_retry, delay_loop = self._timing.delay_before_retry, self._timing.delay_loop
        if self._failed:
            pause = max(before_retry, delay_loop)
        else:
            # While the real server is down attempts are not counted, so they must not follow at once.
            pause = before_retry or (delay_loop if self._up is False else 0.0)
        self._schedule_next(now, pause)
