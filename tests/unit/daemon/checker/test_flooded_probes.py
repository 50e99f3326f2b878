# SPDX-License-Identifier: Apache-2.0
"""Whoever floods a probe with datagrams ends it no later, and takes nobody's turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import pytest

from pointsman.daemon.checker.probes import datagrams, ping
from pointsman.daemon.checker.probes.probe import ProbeFailedError, Result
from pointsman.model.checks import DnsCheck, PingCheck

WHERE: dict[str, Any] = {"connect_address": ip_address("127.0.0.1"), "connect_timeout": 0.2}
PROBES: dict[str, Callable[[], Awaitable[Result]]] = {
    "dns": lambda: datagrams.ask_dns(DnsCheck(connect_port=1, **WHERE)),
    "ping": lambda: ping.probe(PingCheck(connect_port=0, **WHERE)),
}


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.root
def test_a_socket_that_is_never_empty_holds_up_nobody(probe: str) -> None:
    async def story() -> int:
        loop = asyncio.get_running_loop()
        turns = waiting = 0

        async def garbage(_sock: object, _most: int) -> bytes:
            nonlocal waiting
            waiting += 1
            assert waiting < 1_000, "nobody else has had a turn"
            return b"\xff" * 40

        async def other() -> None:
            nonlocal turns, waiting
            while True:
                await asyncio.sleep(0)
                turns, waiting = turns + 1, 0

        loop.sock_recv = garbage  # type: ignore[method-assign,assignment]
        beside = asyncio.create_task(other())
        with pytest.raises(ProbeFailedError, match=r"within 0\.2 s"):
            await asyncio.wait_for(PROBES[probe](), 30.0)
        beside.cancel()
        return turns

    assert asyncio.run(story()) > 10
