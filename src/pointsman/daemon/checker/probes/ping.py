"""PING_CHECK: an ICMP echo, by the kernel's ping socket where it is allowed, else by a raw one."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import msgspec

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import failure, no_socket, opened, received, source_of
from pointsman.health import tcp
from pointsman.model.checks import PingCheck
from pointsman.model.checksum import internet_checksum

ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST6, ECHO_REPLY6 = 128, 129
LARGEST = 2048
PATTERN = 32
"""Random bytes by which we know our own echo again."""


async def probe(check: PingCheck) -> Result:
    """Send one echo request and wait for its reply. Raises ProbeFailedError and ProbeUnableError."""
    target = str(check.connect_address)
    six = check.connect_address.version == 6
    pattern = random.randbytes(PATTERN)
    sock = _socket(check)
    try:
        sock.connect((target, 0))
        sock.send(request(six, random.randrange(65536), pattern))
        async with asyncio.timeout(check.connect_timeout):
            while not is_reply(six, await received(sock, LARGEST), pattern):
                pass
    except TimeoutError:
        raise ProbeFailedError(tcp.silence(check, source_of(sock), "echo", target)) from None
    except OSError as error:
        raise failure(check, error) from None
    finally:
        sock.close()
    return Result(Outcome.PASSED, f"echo from {target}")


def request(six: bool, number: int, pattern: bytes) -> bytes:
    """An echo request (RFC 792, RFC 4443); the kernel fills the checksum of version 6 in."""
    kind = ECHO_REQUEST6 if six else ECHO_REQUEST
    bare = struct.pack("!BBHHH", kind, 0, 0, number, 1) + pattern
    return bare if six else bare[:2] + struct.pack("!H", internet_checksum(bare)) + bare[4:]


def is_reply(six: bool, data: bytes, pattern: bytes) -> bool:
    """Whether this is the echo of `pattern`; a raw socket puts the IPv4 header in front."""
    if not six and data[:1] and data[0] >> 4 == 4:
        data = data[(data[0] & 15) * 4 :]
    return data[:1] == bytes([ECHO_REPLY6 if six else ECHO_REPLY]) and data[8:] == pattern


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
