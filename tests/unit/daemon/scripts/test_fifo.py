# SPDX-License-Identifier: Apache-2.0
"""Notify FIFOs under reloads."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pointsman.daemon.runtime.run_program import start_program
from pointsman.daemon.scripts.fifo import Fifos
from pointsman.model.tracking import Command, NotifyFifo


def test_reloads_that_come_faster_than_readers_end(tmp_path: Path) -> None:
    reader = Command(("/bin/sleep", "60"))
    first, second = (
        NotifyFifo(word=word, path=str(tmp_path / word), reader=reader)
        for word in ("notify_fifo", "lvs_notify_fifo")
    )

    async def start(command: Command) -> asyncio.subprocess.Process:
        return await start_program(Command(command.words[:-1]))  # sleep(1) wants no path

    async def body() -> None:
        fifos = Fifos(start)
        await fifos.reconfigure([first, second])
        await asyncio.sleep(0)
        await asyncio.gather(fifos.reconfigure([]), fifos.reconfigure([second]), fifos.reconfigure([]))
        assert list(tmp_path.iterdir()) == []
        await fifos.reconfigure([first])
        fifos.write("still there", [first])
        assert [path.name for path in tmp_path.iterdir()] == ["notify_fifo"]
        await fifos.close()

    asyncio.run(body())
    assert list(tmp_path.iterdir()) == []
