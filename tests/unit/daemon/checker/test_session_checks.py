# SPDX-License-Identifier: Apache-2.0
"""BFD_CHECK: what the BFD process tells becomes verdicts."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from pointsman.control import messages
from pointsman.daemon.checker.process import Checker
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.model.checks import BfdCheck
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

VIP = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.0.2.9"), 80)


def service(*sessions: str) -> list[VirtualServer]:
    """A real server for each of these sessions."""
    members = tuple(
        PoolMember(
            server=RealServer(key=ServerKey(ipaddress.ip_address(f"192.0.2.{20 + number}"), 80)),
            checks=(BfdCheck(session=session, retry=0, delay_loop=0.0, warmup=0.0),),
        )
        for number, session in enumerate(sessions)
    )
    return [VirtualServer(service=VirtualService(key=VIP), members=members)]


def test_each_change_of_a_session_is_a_verdict_and_repetitions_are_none() -> None:
    async def scenario() -> None:
        director, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        loop = asyncio.get_running_loop()
        checker = Checker(service("one", "two", "one"), DirectorChannel(end, loop), loop)
        checker.start()
        tell = [("one", True), ("one", True), ("two", False), ("other", False), ("one", False)]
        for session, up in tell:
            checker.on_session_changed(
                messages.SessionChanged(session, up, "nothing heard" if not up else "up")
            )
        checker.reconfigure(service("one", "two", "one", "one"))
        checker.on_session_changed(messages.SessionChanged("two", True, "up"))
        found = []
        director.settimeout(0)
        for _ in range(7):
            report = messages.result_decoder.decode(director.recv(65536))
            assert isinstance(report, messages.CheckResult)
            found.append((str(report.server.address)[-2:], report.up, report.reason))
        assert found == [
            ("20", True, "up"),
            ("22", True, "up"),
            ("21", False, "nothing heard"),
            ("20", False, "nothing heard"),
            ("22", False, "nothing heard"),
            ("23", False, "nothing heard"),
            ("21", True, "up"),
        ]
        checker.stop()
        director.close()
        end.close()

    asyncio.run(scenario())


def test_a_check_that_comes_with_a_reload_knows_what_was_told_before() -> None:
    async def scenario() -> None:
        director, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        loop = asyncio.get_running_loop()
        checker = Checker(service(), DirectorChannel(end, loop), loop)
        checker.start()
        checker.on_session_changed(messages.SessionChanged("one", False, "nothing heard"))
        checker.reconfigure(service("one"))
        report = messages.result_decoder.decode(director.recv(65536))
        assert isinstance(report, messages.CheckResult) and report.up is False
        checker.stop()
        director.close()
        end.close()

    asyncio.run(scenario())
