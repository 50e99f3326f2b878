# SPDX-License-Identifier: Apache-2.0
"""The checker takes another configuration: what is in both goes on, what is new starts, what is gone ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator

import pytest

from pointsman.control import messages
from pointsman.daemon.checker.process import Checker
from pointsman.daemon.runtime.config_history import send_config
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

LOCAL = ipaddress.ip_address("127.0.0.1")
VIP = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.0.2.9"), 80)
SERVERS = [ServerKey(ipaddress.ip_address(f"192.0.2.{last}"), 80) for last in (20, 21, 22)]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def config(*checks: tuple[TcpCheck, ...]) -> Config:
    """A service whose real servers have these checks."""
    members = tuple(
        PoolMember(server=RealServer(key=key), checks=wanted)
        for key, wanted in zip(SERVERS, checks, strict=False)
    )
    virtual = VirtualServer(service=VirtualService(key=VIP), members=members)
    return Config(router_id="lb-01", virtual_servers=(virtual,))


def tcp(port: int, loop: float = 3600.0) -> TcpCheck:
    return TcpCheck(connect_address=LOCAL, connect_port=port, delay_loop=loop, warmup=0.0, retry=0)


async def verdicts(channel: socket.socket, wanted: int) -> list[tuple[ServerKey, str, bool]]:
    """The next so many reports."""
    found = []
    for _ in range(wanted):
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(channel, 65536), 10)
        report = messages.result_decoder.decode(data)
        assert isinstance(report, messages.CheckResult)
        found.append((report.server, report.check, report.up))
    return sorted(found, key=lambda each: (str(each[0]), not each[2]))


def test_unchanged_checks_keep_their_verdict_and_their_time(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    good, bad = tcp(port).identity, tcp(1).identity

    async def scenario() -> None:
        director, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        director.setblocking(False)
        channel = DirectorChannel(end, asyncio.get_running_loop())
        checker = Checker(
            config((tcp(port),), (tcp(port, 1800.0),)).virtual_servers, channel, asyncio.get_running_loop()
        )
        channel.on_new_configuration = lambda new: checker.reconfigure(new.virtual_servers)
        checker.start()
        assert await verdicts(director, 2) == [
            *((SERVERS[0], good, True), (SERVERS[1], tcp(port, 1800.0).identity, True)),
        ]
        kept = checker.runners[tcp(port)]
        # The second server goes, a third one shares the first one's check, the first gets another one too.
        send_config(director, config((tcp(port), tcp(1)), (), (tcp(port),)))
        assert await verdicts(director, 2) == [(SERVERS[0], bad, False), (SERVERS[2], good, True)]
        assert checker.runners[tcp(port)] is kept
        assert set(checker.runners) == {tcp(port), tcp(1)}
        director.send(messages.encode(messages.Resync()))
        assert await verdicts(director, 3) == [
            *((SERVERS[0], good, True), (SERVERS[0], bad, False), (SERVERS[2], good, True)),
        ]
        checker.stop()
        director.close()
        end.close()

    asyncio.run(scenario())
    listener.setblocking(False)
    accepted = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            accepted += 1
    assert accepted == 2
