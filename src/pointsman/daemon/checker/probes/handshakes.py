# SPDX-License-Identifier: Apache-2.0
"""Poller of thousands of TCP handshakes: one epoll descriptor, and one timer for each length of timeout.

asyncio would need a registration and a timer for each handshake. A socket is closed when its handshake has
ended, and the kernel then removes it from the epoll set.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import NamedTuple, Protocol

_MAX_READY = 256
"""Sockets that are handled before the event loop continues."""


class Handshake(Protocol):
    """A TCP handshake in progress."""

    def on_answer(self) -> None:
        """Handle the end of the handshake: connected, or an error."""

    def on_timeout(self) -> None:
        """Handle a handshake without an answer in time."""


class _Wait(NamedTuple):
    deadline: float
    descriptor: int
    handshake: Handshake


class HandshakePoller:
    """The handshakes in progress of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._poll = select.epoll()
        self._waits: dict[int, _Wait] = {}
        self._queues: dict[float, deque[_Wait]] = {}
        """By timeout in seconds, so that each queue is in the order of deadlines."""
        self._armed: set[float] = set()
        loop.add_reader(self._poll.fileno(), self._on_ready)

    def wait(self, descriptor: int, timeout: float, handshake: Handshake) -> None:
        """Call `handshake` when its socket is ready, or after `timeout` seconds.

        Not to be called in `on_answer`.
        """
        wait = self._waits[descriptor] = _Wait(self.loop.time() + timeout, descriptor, handshake)
        self._poll.register(descriptor, select.EPOLLOUT)
        queue = self._queues.setdefault(timeout, deque())
        self._drop_ended(queue)
        queue.append(wait)
        if timeout not in self._armed:
            self._arm(timeout, queue)

    def forget(self, descriptor: int) -> None:
        """Forget a socket. To be called before it is closed."""
        self._waits.pop(descriptor, None)

    def close(self) -> None:
        """Close the epoll descriptor, when the event loop has ended."""
        self._poll.close()

    def _on_ready(self) -> None:
        for descriptor, _ in self._poll.poll(0, _MAX_READY):
            wait = self._waits.pop(descriptor, None)
            if wait is not None:
                wait.handshake.on_answer()

    def _drop_ended(self, queue: deque[_Wait]) -> None:
        while queue and self._waits.get(queue[0].descriptor) is not queue[0]:
            queue.popleft()

    def _arm(self, timeout: float, queue: deque[_Wait]) -> None:
        self._armed.add(timeout)
        self.loop.call_at(queue[0].deadline, self._expire, timeout, queue)

    def _expire(self, timeout: float, queue: deque[_Wait]) -> None:
        self._armed.discard(timeout)
        now = self.loop.time()
        self._drop_ended(queue)
        while queue and queue[0].deadline <= now:
            wait = queue.popleft()
            del self._waits[wait.descriptor]
            wait.handshake.on_timeout()
            self._drop_ended(queue)
        if queue and timeout not in self._armed:
            self._arm(timeout, queue)


_pollers: list[HandshakePoller] = []


def handshake_poller(loop: asyncio.AbstractEventLoop) -> HandshakePoller:
    """Return the poller of this event loop. A process has one event loop at a time."""
    if _pollers and _pollers[0].loop is not loop:
        _pollers.pop().close()
    if not _pollers:
        _pollers.append(HandshakePoller(loop))
    return _pollers[0]
