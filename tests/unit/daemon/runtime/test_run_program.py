# SPDX-License-Identifier: Apache-2.0
"""Programs that end, or are ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pointsman.daemon.runtime.run_program import finish_program


class Program:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await self.code


@pytest.mark.parametrize("later", range(5))
def test_who_waits_for_a_program_can_be_cancelled_whenever_it_ends(later: int) -> None:
    async def body() -> None:
        program: Any = Program()
        task = asyncio.create_task(finish_program(program, 60.0))
        for _ in range(4):
            await asyncio.sleep(0)
        program.code.set_result(0)
        for _ in range(later):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            assert task.result() == 0

    asyncio.run(body())
