# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions, for as long as a busy machine needs."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE = 120.0
"""Seconds until a condition counts as not fulfilled. They cost nothing if it is."""
_STEP = 0.02


def until(
    what: str,
    condition: Callable[[], object],
    seconds: float = DEADLINE,
    explain: Callable[[], str] = lambda: "",
) -> float:
    """Wait until a condition is true and return how many seconds that took.

    Fail the test when it does not become true; `explain` says more then, a log for example.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"waited {seconds:g} s in vain until {what}\n{explain()}".rstrip())
        time.sleep(_STEP)
    return time.monotonic() - began
