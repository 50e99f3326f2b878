# SPDX-License-Identifier: Apache-2.0
"""Long work leaves the event loop to others after each slice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from pointsman.daemon.runtime.slices import SLICE, in_slices


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def work(clock: list[float], count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        clock[0] += seconds
        yield number


def test_the_event_loop_has_a_turn_after_each_slice(clock: list[float]) -> None:
    turns: list[float] = []

    async def tick() -> None:
        while True:
            turns.append(clock[0])
            await asyncio.sleep(0)

    async def run() -> list[int]:
        ticking = asyncio.create_task(tick())
        found = [each async for piece in in_slices(work(clock, 1000, 0.001)) for each in piece]
        ticking.cancel()
        return found

    assert asyncio.run(run()) == list(range(1000))
    pauses = [after - before for before, after in itertools.pairwise(turns)]
    assert len(turns) >= 90 and max(pauses) < 1.2 * SLICE
