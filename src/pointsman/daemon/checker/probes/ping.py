# SPDX-License-Identifier: Apache-2.0
"""PING_CHECK: an ICMP echo, by a ping socket of the kernel if permitted, else by a raw socket."""

from __future__ import annotations

import asyncio
import random
import socket

import msgspec

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import (
    open_socket,
    probe_error,
    receive,
    socket_error,
    source_address,
)
from pointsman.health import tcp
from pointsman.model.checks import PingCheck
from pointsman.packets import icmp, ip
from pointsman.packets.errors import WireError

LARGEST = 2048
"""Bytes of a reply."""
PATTERN = 32
"""Random bytes in the request that identify its reply."""


async def probe(check: PingCheck) -> Result:
    """Send one echo request and wait for its reply. Raises ProbeFailedError and ProbeUnableError."""
    target = str(check.connect_address)
    version = check.connect_address.version
    pattern = random.randbytes(PATTERN)
    sock = _socket(check)
    try:
        sock.connect((target, 0))
        sock.send(icmp.encode_request(version, random.randrange(65536), 1, pattern))
        async with asyncio.timeout(check.connect_timeout):
            while not is_reply(version, await receive(sock, LARGEST), pattern):
                pass
    except TimeoutError:
        raise ProbeFailedError(tcp.silence(check, source_address(sock), "echo", target)) from None
    except OSError as error:
        raise probe_error(check, error) from None
    finally:
        sock.close()
    return Result(Outcome.PASSED, f"echo from {target}")


def is_reply(version: int, data: bytes, pattern: bytes) -> bool:
    """Return True if this is the reply with `pattern`. A raw socket puts the IPv4 header in front."""
    try:
        if version == 4 and data[:1] and data[0] >> 4 == 4:
            data = data[ip.decode_ipv4(data).size :]
        return icmp.decode_reply(version, data).data == pattern
    except WireError:
        return False


def _socket(check: PingCheck) -> socket.socket:
    protocol = socket.IPPROTO_ICMP if check.connect_address.version == 4 else socket.IPPROTO_ICMPV6
    plain = msgspec.structs.replace(check, bind_port=0)
    try:
        return open_socket(plain, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        pass  # not in net.ipv4.ping_group_range
    except OSError as error:
        raise socket_error(check, error) from None
    try:
        return open_socket(plain, socket.SOCK_RAW, protocol)
    except OSError as error:
        raise socket_error(check, error) from None
