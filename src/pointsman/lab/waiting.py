# SPDX-License-Identifier: Apache-2.0
"""Wait for a condition, with a deadline and a reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pointsman.lab.errors import LabError

Value = TypeVar("Value")

STEP = 0.02


def until(condition: Callable[[], Value], seconds: float, what: str) -> Value:
    """Return the first true value of `condition`. Raises LabError with `what` if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"timeout: after {seconds:g} s this is still not true: {what}")
        time.sleep(STEP)
