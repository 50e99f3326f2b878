# SPDX-License-Identifier: Apache-2.0
"""Counting of executed lines: a test of complexity that does not depend on the machine's speed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_run(function: Callable[[], object]) -> int:
    """Return how many lines of Python a call executes; each turn of a loop counts."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    collected = gc.isenabled()
    gc.disable()  # its finalizers are lines of others
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        if collected:
            gc.enable()
    return count
