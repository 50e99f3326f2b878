# SPDX-License-Identifier: Apache-2.0
"""DNS_CHECK and UDP_CHECK: send one datagram and judge the reply."""

from __future__ import annotations

import asyncio
import random
import socket

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import connect, probe_error, receive, source_address
from pointsman.health import dns, tcp, udp
from pointsman.model.checks import DnsCheck, NetworkCheck, UdpCheck

LARGEST = 65536
"""Bytes of a reply."""
RANDOM_PAYLOAD = 16
"""Bytes of the random payload of a UDP_CHECK without payload."""


async def ask_dns(check: DnsCheck) -> Result:
    """Send a query to the name server. Raises ProbeFailedError and ProbeUnableError."""
    number = random.randrange(65536)
    what = f"{check.record} of {check.name} from {tcp.target(check)}"
    async with _Exchange(check, dns.build_query(check, number)) as exchange:
        while (answer := await exchange.receive()) is not None:
            problem = dns.parse_answer(number, answer)
            if problem:
                raise ProbeFailedError(f"{problem} for {what}")
            if problem is not None:
                return Result(Outcome.PASSED, f"answer for {what}")
        raise exchange.silence("answer")


async def ask_udp(check: UdpCheck) -> Result:
    """Send the datagram; wait for a reply or ICMP error. Raises ProbeFailedError and ProbeUnableError."""
    payload = random.randbytes(RANDOM_PAYLOAD) if check.payload is None else check.payload
    async with _Exchange(check, payload) as exchange:
        reply = await exchange.receive()
        if reply is None and check.require_reply:
            raise exchange.silence("reply")
        problem = udp.judge_reply(check, reply) if check.require_reply and reply is not None else ""
        if problem:
            raise ProbeFailedError(f"{problem} from {tcp.target(check)}")
    what = "not refused" if reply is None else f"reply of {len(reply)} bytes"
    return Result(Outcome.PASSED, f"{what} by {tcp.target(check)}")


class _Exchange:
    """A connected UDP socket that has sent its datagram. It receives only replies of the real server."""

    def __init__(self, check: NetworkCheck, payload: bytes) -> None:
        self._check = check
        self._payload = payload
        self._latest = 0.0

    async def __aenter__(self) -> _Exchange:
        self._latest = asyncio.get_running_loop().time() + self._check.connect_timeout
        self._socket = await connect(self._check, socket.SOCK_DGRAM)
        try:
            self._socket.send(self._payload)
        except OSError as error:
            self._socket.close()
            raise probe_error(self._check, error) from None
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    async def receive(self) -> bytes | None:
        """Return the next datagram; None: none came within `connect_timeout` of the start."""
        try:
            async with asyncio.timeout_at(self._latest):
                return await receive(self._socket, LARGEST)
        except TimeoutError:
            return None
        except OSError as error:
            raise probe_error(self._check, error) from None

    def silence(self, what: str) -> ProbeFailedError:
        """Return the error for a missing reply."""
        whose = tcp.target(self._check)
        return ProbeFailedError(tcp.silence(self._check, source_address(self._socket), what, whose))
