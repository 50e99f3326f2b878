"""DNS_CHECK and UDP_CHECK: one datagram, and what comes back."""

from __future__ import annotations

import asyncio
import random
import socket

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import connected, failure, received, source_of
from pointsman.health import dns, tcp, udp
from pointsman.model.checks import DnsCheck, NetworkCheck, UdpCheck

LARGEST = 65536
RANDOM_PAYLOAD = 16
"""Bytes of a UDP_CHECK without payload."""


async def ask_dns(check: DnsCheck) -> Result:
    """Ask the name server. Raises ProbeFailedError and ProbeUnableError."""
    number = random.randrange(65536)
    what = f"{check.record} of {check.name} from {tcp.target(check)}"
    async with _Exchange(check, dns.build_query(check, number)) as exchange:
        while (answer := await exchange.receive()) is not None:
            trouble = dns.parse_answer(number, answer)
            if trouble:
                raise ProbeFailedError(f"{trouble} for {what}")
            if trouble is not None:
                return Result(Outcome.PASSED, f"answer for {what}")
        raise exchange.silence("answer")


async def ask_udp(check: UdpCheck) -> Result:
    """Send the datagram, wait for a reply or a refusal. Raises ProbeFailedError and ProbeUnableError."""
    payload = random.randbytes(RANDOM_PAYLOAD) if check.payload is None else check.payload
    async with _Exchange(check, payload) as exchange:
        reply = await exchange.receive()
        if reply is None and check.require_reply:
            raise exchange.silence("reply")
        trouble = udp.judge_reply(check, reply) if check.require_reply and reply is not None else ""
        if trouble:
            raise ProbeFailedError(f"{trouble} from {tcp.target(check)}")
    what = "not refused" if reply is None else f"reply of {len(reply)} bytes"
    return Result(Outcome.PASSED, f"{what} by {tcp.target(check)}")


class _Exchange:
    """A connected socket that has sent its datagram: only the real server's answers and ICMP errors come."""

    def __init__(self, check: NetworkCheck, payload: bytes) -> None:
        self._check = check
        self._payload = payload
        self._latest = 0.0

    async def __aenter__(self) -> _Exchange:
        self._latest = asyncio.get_running_loop().time() + self._check.connect_timeout
        self._socket = await connected(self._check, socket.SOCK_DGRAM)
        try:
            self._socket.send(self._payload)
        except OSError as error:
            self._socket.close()
            raise failure(self._check, error) from None
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    async def receive(self) -> bytes | None:
        """The next datagram; None when none has come within `connect_timeout` of the start."""
        try:
            async with asyncio.timeout_at(self._latest):
                return await received(self._socket, LARGEST)
        except TimeoutError:
            return None
        except OSError as error:
            raise failure(self._check, error) from None

    def silence(self, what: str) -> ProbeFailedError:
        """The error when nothing has come."""
        whose = tcp.target(self._check)
        return ProbeFailedError(tcp.silence(self._check, source_of(self._socket), what, whose))
