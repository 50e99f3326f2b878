# SPDX-License-Identifier: Apache-2.0
"""Event loop of a real-time process: read everything that has arrived, then fire the timers.

Input that arrived before a timer was due is handled before that timer fires. So a stalled process does not
mistake its own delay for silence of a peer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
from collections.abc import Callable
from typing import Protocol

from pointsman.daemon.runtime.heartbeat import INTERVAL, Heartbeat

STALL = 1.0
"""Seconds after a deadline from which a late timer is logged."""


class Readable(Protocol):
    """An object with a file descriptor."""

    def fileno(self) -> int: ...


class Timers(Protocol):
    """All timers of a process, with one deadline."""

    @property
    def deadline(self) -> float | None:
        """Time at which `advance` must be called; None: no timer is set."""

    def advance(self, now: float) -> None:
        """Fire every timer that is due at `now`."""


class EventLoop:
    """Calls back for readable descriptors, and fires timers. Callbacks must not block.

    `clock`: clock of the deadlines. `log`: channel of the process.
    """

    def __init__(
        self, clock: Callable[[], float], log: logging.Logger, heartbeat: Heartbeat | None = None
    ) -> None:
        """`heartbeat`: beats at each turn. A turn is then never longer than its interval."""
        self._clock = clock
        self._heartbeat = heartbeat
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._last_turn = clock()
        self.stopping = False
        """True after a signal of `stop_on`. The owner may reset it."""

    def watch(self, readable: Readable, on_readable: Callable[[], object]) -> None:
        """Call `on_readable` whenever the descriptor is readable."""
        self._selector.register(readable, selectors.EVENT_READ, on_readable)

    def unwatch(self, readable: Readable) -> None:
        """Stop watching a descriptor. To be called before it is closed."""
        self._selector.unregister(readable)

    def stop_on(self, *numbers: signal.Signals) -> None:
        """Set `stopping` and wake up at these signals. Ignored signals stay ignored."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: _empty(wake_read))
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def turn(self, timers: Timers) -> None:
        """Wait for the next event or deadline, read, fire timers.

        `now` is taken before the last read: input that arrives later was not late.
        """
        deadline = timers.deadline
        wait = None if deadline is None else max(0.0, deadline - self._clock())
        if self._heartbeat is not None:
            self._heartbeat.beat()
            wait = INTERVAL if wait is None else min(wait, INTERVAL)
        self._read(wait)
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
