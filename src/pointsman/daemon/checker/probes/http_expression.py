# SPDX-License-Identifier: Apache-2.0
"""Searches of regular expressions in the bodies of answers: one at a time, with a bound for their time."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import time

import regex

from pointsman.daemon.checker.probes.probe import ProbeFailedError, ProbeUnableError
from pointsman.health import http
from pointsman.health.http import LongSearchError
from pointsman.model.checks import Pattern

ATTEMPTS = 5
"""Searches of a body while the host gives them no time."""
PAUSE = 10.0
"""Seconds after a search that took too long. Meanwhile the check fails without another one."""
MAX_GIVEN_UP = 1000

# Created at the import: the checker may not read files later.
_searcher = concurrent.futures.thread.ThreadPoolExecutor(max_workers=1)
_given_up: dict[Pattern, tuple[float, str]] = {}
"""Time until which a pattern is not searched, and the reason."""


async def judge_body(pattern: Pattern, body: bytes) -> str:
    """Return why the body does not fit the pattern. Empty: it fits.

    Raises ProbeFailedError if the search takes too long, and ProbeUnableError.
    """
    loop = asyncio.get_running_loop()
    until, reason = _given_up.get(pattern, (0.0, ""))
    if loop.time() < until:
        raise ProbeFailedError(reason)
    try:
        return await loop.run_in_executor(_searcher, _search, pattern, _compiled(pattern), body)
    except LongSearchError as error:
        if len(_given_up) >= MAX_GIVEN_UP:
            _given_up.clear()
        _given_up[pattern] = (loop.time() + PAUSE, str(error))
        raise ProbeFailedError(str(error)) from None


def _search(pattern: Pattern, expression: regex.Pattern[bytes], body: bytes) -> str:
    """Search until it ends or has used its time. Raises LongSearchError, ProbeUnableError."""
    for _ in range(ATTEMPTS):
        began = time.thread_time()
        try:
            return http.judge_body(pattern, expression, body)
        except LongSearchError:
            # The limit counts real time. On a busy host the search may have had no CPU.
            if time.thread_time() - began > http.MATCH_TIME / 2:
                raise
    raise ProbeUnableError(f"this host is too busy to search for regex {pattern.text!r}")


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: Pattern) -> regex.Pattern[bytes]:
    try:
        return http.compile_pattern(pattern)
    except ValueError as error:
        raise ProbeUnableError(f"regex {pattern.text!r}: {error}") from None
