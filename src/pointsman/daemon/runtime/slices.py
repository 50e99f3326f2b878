# SPDX-License-Identifier: Apache-2.0
"""Long work in slices: between two slices the event loop does everything else that is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

SLICE = 0.01
"""Seconds of work after which the event loop has a turn."""

_Item = TypeVar("_Item")


async def in_slices(items: Iterable[_Item], seconds: float = SLICE) -> AsyncIterator[list[_Item]]:
    """Yield all items in lists. Making each list takes about `seconds`; then the event loop has a turn.

    `items` is a generator that does the work. What it reads can change between two lists.
    """
    piece: list[_Item] = []
    began = time.monotonic()
    for item in items:
        piece.append(item)
        if time.monotonic() - began >= seconds:
            yield piece
            piece = []
            await asyncio.sleep(0)
            began = time.monotonic()
    yield piece
