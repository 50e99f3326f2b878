# SPDX-License-Identifier: Apache-2.0
"""A control server that answers while a test runs, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from pointsman.control.server import ControlServer

PATIENCE = 30.0


@contextlib.contextmanager
def served(server: ControlServer) -> Iterator[None]:
    """Serve requests. At the end no client is left: its task would outlive the event loop."""
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await server.start()
        started.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
