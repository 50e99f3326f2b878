"""The loop of a punctual process: read everything that has arrived, then let the timers fire.

Whatever arrived before a timer was due is handled before that timer fires. A process that was stalled thus
draws no conclusion from a silence that never was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
from collections.abc import Callable
from typing import Protocol

STALL = 1.0
"""Seconds after a deadline from which on its lateness is logged."""


class Readable(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int: ...


class Timers(Protocol):
    """Everything in a process that waits for a time, behind one deadline."""

    @property
    def deadline(self) -> float | None:
        """Return when `advance` wants to be called; None: only an input can change anything."""

    def advance(self, now: float) -> None:
        """Let every timer that is due at `now` fire."""


class EventLoop:
    """Calls back for readable descriptors, and calls `advance` of the timers that it is given.

    `clock` is that of the deadlines; `log` belongs to the process. Callbacks never wait.
    """

    def __init__(self, clock: Callable[[], float], log: logging.Logger) -> None:
        self._clock = clock
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._last_turn = clock()
        self.stopping = False
        """A signal of `stop_on` has come since this was last set to False."""

    def watch(self, readable: Readable, drain: Callable[[], object]) -> None:
        """Call `drain` whenever there is something to read."""
        self._selector.register(readable, selectors.EVENT_READ, drain)

    def unwatch(self, readable: Readable) -> None:
        """Forget it; to be called before it is closed."""
        self._selector.unregister(readable)

    def stop_on(self, *numbers: signal.Signals) -> None:
        """Set `stopping` at these signals, and wake up; those that are ignored stay ignored."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: _empty(wake_read))
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def turn(self, timers: Timers) -> None:
        """Wait for the first event or deadline, read, let timers fire.

        `now` is taken before the last reading: what arrives after it was not late.
        """
        deadline = timers.deadline
        self._read(None if deadline is None else max(0.0, deadline - self._clock()))
        now = self._clock()
        deadline = timers.deadline
        if deadline is not None and deadline <= now:
            late = now - max(deadline, self._last_turn)
            if late >= STALL:
                self._log.warning("this process was stalled: timers fire %.1f s late", late)
            self._read(0)
            timers.advance(now)
        self._last_turn = now

    def _read(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()


def _empty(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 512):
            pass
