# SPDX-License-Identifier: Apache-2.0
"""Many handshakes that wait at one place: who is calls what, and when."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from pointsman.daemon.checker.probes.handshakes import handshake_poller

SOON = 0.2


class Recorder:
    """Records its calls and their times."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def on_answer(self, connected: bool) -> None:
        self.calls.append(("answered", asyncio.get_running_loop().time()))

    def on_timeout(self) -> None:
        self.calls.append(("timed out", asyncio.get_running_loop().time()))

    async def until_called(self, times: int = 1) -> str:
        async with asyncio.timeout(30):
            while len(self.calls) < times:
                await asyncio.sleep(0.01)
        return self.calls[-1][0]


def full_pipe() -> tuple[int, int]:
    """Its second descriptor never is ready to be written to, as a socket nobody answers."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, bytes(65536))
    return reading, writing


@pytest.fixture
def silent() -> Iterator[int]:
    reading, writing = full_pipe()
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def open_() -> Iterator[int]:
    """A descriptor that is ready at once."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    yield writing
    os.close(reading)
    os.close(writing)


def test_who_is_answered_is_told_once_and_who_is_not_after_its_time(silent: int, open_: int) -> None:
    async def body() -> None:
        poller, slow, quick = handshake_poller(asyncio.get_running_loop()), Recorder(), Recorder()
        began = poller.loop.time()
        poller.wait(silent, SOON, slow)
        poller.wait(open_, SOON, quick)
        assert await quick.until_called() == "answered"
        assert await slow.until_called() == "timed out"
        assert slow.calls[0][1] >= began + SOON
        await asyncio.sleep(SOON)
        assert (len(slow.calls), len(quick.calls)) == (1, 1)

    asyncio.run(body())


def test_who_begins_again_with_the_same_descriptor_has_its_whole_time_again(silent: int) -> None:
    """Also behind one who waits for longer, so that what came to an end in between is still in the queue."""

    async def body() -> None:
        poller, again = handshake_poller(asyncio.get_running_loop()), Recorder()
        poller.wait(silent, SOON, Recorder())
        first, number = full_pipe()
        poller.wait(number, SOON, again)
        poller.forget(number)
        await asyncio.sleep(SOON / 2)
        second, writing = full_pipe()
        os.dup2(writing, number)  # closes what it was before
        os.close(writing)
        began = poller.loop.time()
        poller.wait(number, SOON, again)
        assert await again.until_called() == "timed out"
        assert again.calls[0][1] >= began + SOON
        for each in (first, second, number):
            os.close(each)

    asyncio.run(body())


def test_nobody_is_told_who_has_given_up(silent: int) -> None:
    async def body() -> None:
        poller, gone, last = handshake_poller(asyncio.get_running_loop()), Recorder(), Recorder()
        poller.wait(silent, SOON, gone)
        poller.forget(silent)
        reading, writing = full_pipe()
        poller.wait(writing, 2 * SOON, last)
        assert await last.until_called() == "timed out"
        assert gone.calls == []
        os.close(reading)
        os.close(writing)

    asyncio.run(body())
