# SPDX-License-Identifier: Apache-2.0
"""Poller of thousands of TCP handshakes.

Most handshakes have ended a tick after they began. Then one poll(2) finds them all, and none of them needs an
entry in an epoll set. The others share one epoll descriptor, and one timer for each length of timeout.

asyncio would need a registration and a timer for each handshake. A socket is closed when its handshake has
ended, and the kernel then removes it from the epoll set.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import NamedTuple, Protocol

from pointsman.daemon.checker.deadlines import deadlines

_MAX_READY = 256
"""Sockets that are handled before the event loop continues."""


class Handshake(Protocol):
    """A TCP handshake in progress."""

    def on_answer(self, connected: bool) -> None:
        """Handle the end of the handshake. Not connected: the socket has an error."""

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
        self._new: dict[int, tuple[float, float, Handshake]] = {}
        """Start, timeout and handshake of each descriptor that was not looked at yet."""
        self._waits: dict[int, _Wait] = {}
        self._queues: dict[float, deque[_Wait]] = {}
        """By timeout in seconds, so that each queue is in the order of deadlines."""
        self._armed: set[float] = set()
        loop.add_reader(self._poll.fileno(), self._on_ready)

    def wait(self, descriptor: int, timeout: float, handshake: Handshake) -> None:
        """Call `handshake` when its socket is ready, or after `timeout` seconds."""
        now = self.loop.time()
        if not self._new:
            deadlines(self.loop).add(now, self._look)
        self._new[descriptor] = now, timeout, handshake

    def forget(self, descriptor: int) -> None:
        """Forget a socket. To be called before it is closed."""
        if self._new.pop(descriptor, None) is None:
            self._waits.pop(descriptor, None)

    def close(self) -> None:
        """Close the epoll descriptor, when the event loop has ended."""
        self._poll.close()

    def _look(self, now: float) -> None:
        """Look at the new handshakes. Those without an answer go to the epoll set."""
        new, self._new = self._new, {}
        look = select.poll()
        for descriptor in new:
            look.register(descriptor, select.POLLOUT)
        ready = look.poll(0)
        ended = [(new.pop(descriptor)[2], events) for descriptor, events in ready]
        for descriptor, (began, timeout, handshake) in new.items():
            self._wait_longer(descriptor, began + timeout, timeout, handshake)
        for handshake, events in ended:
            handshake.on_answer(events == select.POLLOUT)

    def _wait_longer(self, descriptor: int, deadline: float, timeout: float, handshake: Handshake) -> None:
        wait = self._waits[descriptor] = _Wait(deadline, descriptor, handshake)
        self._poll.register(descriptor, select.EPOLLOUT)
        queue = self._queues.setdefault(timeout, deque())
        self._drop_ended(queue)
        queue.append(wait)
        if timeout not in self._armed:
            self._arm(timeout, queue)

    def _on_ready(self) -> None:
        for descriptor, events in self._poll.poll(0, _MAX_READY):
            wait = self._waits.pop(descriptor, None)
            if wait is not None:
                wait.handshake.on_answer(events == select.EPOLLOUT)

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
