"""PING_CHECK: an ICMP echo, by the kernel's ping socket where it is allowed, else by a raw one."""

from __future__ import annotations

import asyncio
import random
import socket

import msgspec

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import failure, no_socket, opened, received, source_of
from pointsman.health import tcp
from pointsman.model.checks import PingCheck
from pointsman.packets import icmp, ip
from pointsman.packets.errors import WireError

LARGEST = 2048
PATTERN = 32
"""Random bytes by which we know our own echo again."""


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
            while not is_reply(version, await received(sock, LARGEST), pattern):
                pass
    except TimeoutError:
        raise ProbeFailedError(tcp.silence(check, source_of(sock), "echo", target)) from None
    except OSError as error:
        raise failure(check, error) from None
    finally:
        sock.close()
    return Result(Outcome.PASSED, f"echo from {target}")


def is_reply(version: int, data: bytes, pattern: bytes) -> bool:
    """True if this is the echo of `pattern`; a raw socket puts the IPv4 header in front."""
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
        return opened(plain, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        pass  # net.ipv4.ping_group_range does not hold us
    except OSError as error:
        raise no_socket(check, error) from None
    try:
        return opened(plain, socket.SOCK_RAW, protocol)
    except OSError as error:
        raise no_socket(check, error) from None
