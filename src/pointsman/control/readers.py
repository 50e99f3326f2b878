# SPDX-License-Identifier: Apache-2.0
"""A bound for the director's time that users who may only read can use.

They have their turn one after the other, and each of them rests in proportion to the time that it used.
A reply that took long to make is given again for a while. Root has no such bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import msgspec

from pointsman.control.client_messages import Pages

REST = 9.0
"""Rest of one user, as a multiple of the time that it used: it gets a tenth of the director's time."""
REST_OF_ALL = 3.0
"""The same for all these users together: they get a quarter."""
LONGEST_REST = 4.0
"""Seconds. With many services a reply takes long, and its client waits only 10 s."""
COST_OF_A_BYTE = 3e-9
"""Seconds for sending one byte of a reply."""
MAX_KEPT = 4
"""Replies that are kept. There are three different requests that read."""
MAX_KEPT_REQUEST = 100
"""Bytes of a request whose reply is kept."""


class User:
    """A user with a request, or in its rest."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0
        """Requests that wait for their turn or have it."""
        self.rests_until = 0.0


class Kept(msgspec.Struct, frozen=True):
    """A reply that is given again."""

    reply: Pages
    until: float


class Readers:
    """The users who may only read, by user ID, and the replies that they get again."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`work_clock`: CPU time, so that a busy host does not make work look longer."""
        self._clock = clock
        self._work_clock = work_clock
        self._users: dict[int, User] = {}
        self._turn = asyncio.Lock()
        self._rest_until = 0.0
        self._began = 0.0
        self._size = 0
        self._kept: dict[bytes, Kept] = {}

    @contextlib.asynccontextmanager
    async def turn(self, uid: int) -> AsyncIterator[None]:
        """Wait for the turn of a request of this user. The time in the block is what the user used."""
        user = self._users.setdefault(uid, User())
        user.waiting += 1
        try:
            async with user.turn:
                await asyncio.sleep(user.rests_until - self._clock())
                async with self._turn:
                    await asyncio.sleep(self._rest_until - self._clock())
                    self._began, self._size = self._work_clock(), 0
                    try:
                        yield
                    finally:
                        self._account(user)
        finally:
            user.waiting -= 1
            self._forget_rested()

    def _account(self, user: User) -> None:
        now = self._clock()
        used = self._work_clock() - self._began + self._size * COST_OF_A_BYTE
        user.rests_until = now + min(REST * used, LONGEST_REST)
        self._rest_until = now + min(REST_OF_ALL * used, LONGEST_REST)

    def _forget_rested(self) -> None:
        now = self._clock()
        for uid in [uid for uid, each in self._users.items() if not each.waiting and each.rests_until <= now]:
            del self._users[uid]

    def known(self, request: bytes) -> Pages | None:
        """Return the kept reply to this request; None: it must be made. Only inside of `turn`."""
        kept = self._kept.get(request)
        if kept is None or kept.until <= self._clock():
            return None
        self._size = sum(map(len, kept.reply))
        return kept.reply

    def keep(self, request: bytes, reply: Pages) -> None:
        """Keep a reply that was just made, in proportion to the time that it took. Only inside of `turn`."""
        now = self._clock()
        self._size = sum(map(len, reply))
        self._kept = {each: kept for each, kept in self._kept.items() if kept.until > now}
        if len(request) <= MAX_KEPT_REQUEST and len(self._kept) < MAX_KEPT:
            until = now + min(REST * (self._work_clock() - self._began), LONGEST_REST)
            self._kept[request] = Kept(reply, until)
