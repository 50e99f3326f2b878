# SPDX-License-Identifier: Apache-2.0
"""Signals of a lab: every request to stop unwinds the stack, and none interrupts the tear-down."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _unwind(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def stopping_unwinds() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM and SIGHUP, as for Ctrl-C."""
    with _handled(_unwind):
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer requests to stop until the end of the block. It is short, and must not be left half done."""
    waiting: list[int] = []
    try:
        with _handled(lambda number, _frame: waiting.append(number)):
            yield
    finally:
        if waiting:
            signal.raise_signal(waiting[0])


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread only
        return
    before: dict[signal.Signals, Any] = {number: signal.signal(number, handler) for number in _STOPPING}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
