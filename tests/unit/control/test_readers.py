# SPDX-License-Identifier: Apache-2.0
"""How much of the director's time users get who may only read: virtual time, no socket."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pointsman.control import readers as module
from pointsman.control.client_messages import Pages
from pointsman.control.readers import LONGEST_REST, Readers

STATUS = b'{"type":"StatusRequest"}'


class Clock:
    """Virtual time of asyncio: nothing waits, `sleep` moves the clock when nothing else can run."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + max(0.0, seconds), waiting))
        await waiting

    async def run(self, until: float, jobs: list[Awaitable[None]]) -> None:
        tasks = [asyncio.ensure_future(job) for job in jobs]
        while self.now < until:
            for _ in range(20):
                await asyncio.sleep(0)
            if not self._sleepers:
                break
            self._sleepers.sort(key=lambda each: each[0])
            due, waiting = self._sleepers.pop(0)
            self.now = max(self.now, due)
            waiting.set_result(None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()

    class Virtual:
        Lock = asyncio.Lock
        sleep = staticmethod(made.sleep)

    monkeypatch.setattr(module, "asyncio", Virtual)
    return made


def asking(readers: Readers, clock: Clock, uid: int, cost: float, used: Counter[Any]) -> Callable[[], Any]:
    """A client that asks again and again; each reply takes `cost` to make."""

    async def run() -> None:
        while True:
            async with readers.turn(uid):
                clock.now += cost
                used[uid] += 1

    return run


def test_one_user_gets_a_tenth_of_the_time_however_many_clients_it_has(clock: Clock) -> None:
    readers, used = Readers(lambda: clock.now, lambda: clock.now), Counter[Any]()
    job = asking(readers, clock, 1000, 0.02, used)
    asyncio.run(clock.run(200.0, [job() for _ in range(16)]))
    assert 0.09 < used[1000] * 0.02 / 100 < 0.11


def test_all_users_together_get_a_quarter_and_nobody_starves(clock: Clock) -> None:
    readers, used = Readers(lambda: clock.now, lambda: clock.now), Counter[Any]()
    jobs = [asking(readers, clock, uid, 0.02, used)() for uid in range(1000, 1016) for _ in range(3)]
    jobs.append(asking(readers, clock, 2000, 0.02, used)())
    asyncio.run(clock.run(200.0, jobs))
    assert 0.2 < used.total() * 0.02 / 100 < 0.27
    assert used[2000] > 0.8 * used[1000]


def test_a_reply_that_took_long_is_given_again_for_a_while(clock: Clock) -> None:
    readers = Readers(lambda: clock.now, lambda: clock.now)

    async def ask(cost: float) -> Pages | None:
        async with readers.turn(1000):
            if (known := readers.known(STATUS)) is None:
                clock.now += cost
                readers.keep(STATUS, (b"reply",))
            return known

    async def jobs() -> None:
        assert await ask(0.1) is None
        asked_again = clock.now
        assert await ask(0.1) is None, "its rest is as long as the reply is kept"
        assert clock.now - asked_again > 0.9
        readers._users.clear()
        readers._rest_until = 0.0
        assert await ask(0.1) == (b"reply",)
        clock.now += 1.0
        assert await ask(0.0) is None
        assert await ask(0.0) is None, "a cheap reply is always fresh"

    asyncio.run(clock.run(200.0, [jobs()]))


def test_no_rest_is_longer_than_a_client_waits(clock: Clock) -> None:
    readers, used = Readers(lambda: clock.now, lambda: clock.now), Counter[Any]()
    asyncio.run(clock.run(130.0, [asking(readers, clock, 1000, 2.0, used)()]))
    assert used[1000] == pytest.approx(30.0 / (2.0 + LONGEST_REST), abs=1)


def test_a_user_without_requests_is_forgotten(clock: Clock) -> None:
    readers = Readers(lambda: clock.now, lambda: clock.now)

    async def once(uid: int) -> None:
        async with readers.turn(uid):
            pass

    asyncio.run(clock.run(200.0, [once(uid) for uid in range(1000)]))
    assert readers._users == {}
