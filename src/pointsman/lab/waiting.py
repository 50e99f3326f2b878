"""Waiting for something to become true, with a deadline and a reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pointsman.lab.errors import LabError

Value = TypeVar("Value")

STEP = 0.02


def until(condition: Callable[[], Value], seconds: float, what: str) -> Value:
    """The first true value of `condition`; LabError saying `what` was waited for when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(STEP)
