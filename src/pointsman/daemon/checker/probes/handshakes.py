"""Thousands of TCP handshakes at once: one epoll descriptor, a timer a timeout; asyncio has some for each.

Sockets are closed when their handshake has ended; the kernel then forgets them in the epoll set, too.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import NamedTuple, Protocol

_MOST_AT_ONCE = 256
"""Answers that are taken in before the loop sees to others."""


class Handshake(Protocol):
    """A handshake that waits for its answer."""

    def answered(self) -> None:
        """The socket has an answer, or an error."""

    def timed_out(self) -> None:
        """Nothing has come in time."""


class _Wait(NamedTuple):
    deadline: float
    descriptor: int
    knock: Handshake


class HandshakePoller:
    """The handshakes of one event loop that wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._poll = select.epoll()
        self._waits: dict[int, _Wait] = {}
        self._queues: dict[float, deque[_Wait]] = {}
        """By the seconds they may take, so that each is in the order of its deadlines."""
        self._armed: set[float] = set()
        loop.add_reader(self._poll.fileno(), self._take)

    def wait(self, descriptor: int, patience: float, knock: Handshake) -> None:
        """Tell `knock` when the socket is answered, or `patience` seconds are over. Not from `answered`."""
        wait = self._waits[descriptor] = _Wait(self.loop.time() + patience, descriptor, knock)
        self._poll.register(descriptor, select.EPOLLOUT)
        queue = self._queues.setdefault(patience, deque())
        self._drop_ended(queue)
        queue.append(wait)
        if patience not in self._armed:
            self._arm(patience, queue)

    def forget(self, descriptor: int) -> None:
        """The socket is about to be closed."""
        self._waits.pop(descriptor, None)

    def close(self) -> None:
        """Its loop is at an end."""
        self._poll.close()

    def _take(self) -> None:
        for descriptor, _ in self._poll.poll(0, _MOST_AT_ONCE):
            wait = self._waits.pop(descriptor, None)
            if wait is not None:
                wait.knock.answered()

    def _drop_ended(self, queue: deque[_Wait]) -> None:
        while queue and self._waits.get(queue[0].descriptor) is not queue[0]:
            queue.popleft()

    def _arm(self, patience: float, queue: deque[_Wait]) -> None:
        self._armed.add(patience)
        self.loop.call_at(queue[0].deadline, self._expire, patience, queue)

    def _expire(self, patience: float, queue: deque[_Wait]) -> None:
        self._armed.discard(patience)
        now = self.loop.time()
        self._drop_ended(queue)
        while queue and queue[0].deadline <= now:
            wait = queue.popleft()
            del self._waits[wait.descriptor]
            wait.knock.timed_out()
            self._drop_ended(queue)
        if queue and patience not in self._armed:
            self._arm(patience, queue)


_doorsteps: list[HandshakePoller] = []


def handshake_poller(loop: asyncio.AbstractEventLoop) -> HandshakePoller:
    """The one of this loop, which is the only one of its process at a time."""
    if _doorsteps and _doorsteps[0].loop is not loop:
        _doorsteps.pop().close()
    if not _doorsteps:
        _doorsteps.append(HandshakePoller(loop))
    return _doorsteps[0]
