# SPDX-License-Identifier: Apache-2.0
"""UDP sockets of BFD (RFC 5881 section 4): one receiver per port, one sender per session."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import random
import socket
import struct
import time
from collections.abc import Iterator

import msgspec

from pointsman.bfd.wire import SOURCE_PORTS
from pointsman.model.address import Address

MAX_PACKETS = 1024
"""Maximum number of packets that one call of `receive` reads."""
_MAX_SIZE = 512
"""Bytes. A packet with authentication is shorter."""
_TOS = 0xC0
_IP_RECVTTL = 12
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_RECEIVE_BUFFER = 1 << 18
_PORT_TRIES = 64


class Arrival(msgspec.Struct, frozen=True):
    """A packet and its receive time in the kernel (CLOCK_BOOTTIME)."""

    source: Address
    ttl: int
    payload: bytes
    time: float


class Receiver:
    """Receiver of all packets to one port. Raises OSError (EADDRINUSE: another BFD daemon runs)."""

    def __init__(self, family: int, port: int) -> None:
        inet = socket.AF_INET if family == 4 else socket.AF_INET6
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(inet, kind)
        try:
            if family == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.bind(("" if family == 4 else "::", port))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Iterator[Arrival]:
        """Yield the waiting packets, at most MAX_PACKETS."""
        skew = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
        for _ in range(MAX_PACKETS):
            try:
                payload, control, _, sender = self._socket.recvmsg(_MAX_SIZE, 256)
            except OSError:
                return
            ttl, when = 0, time.time()
            for level, kind, data in control:
                if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
                    seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                    when = min(when, seconds + nanoseconds / 1e9)
                elif kind in (socket.IP_TTL, socket.IPV6_HOPLIMIT) and level != socket.SOL_SOCKET:
                    ttl = struct.unpack_from("=i", data)[0]
            source = ipaddress.ip_address(sender[0].partition("%")[0])
            yield Arrival(source, ttl, payload, when + skew)


class Sender:
    """Sender of the packets of one session, always from the same port."""

    def __init__(self, neighbour: Address, source: Address | None, ttl: int, port: int) -> None:
        """Open the socket. Raises OSError (EADDRNOTAVAIL: the source is no address of this host)."""
        self._destination = (str(neighbour), port)
        inet = socket.AF_INET if neighbour.version == 4 else socket.AF_INET6
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(inet, kind)
        try:
            if neighbour.version == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _TOS)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)
            self._bind(str(source) if source else ("0.0.0.0" if neighbour.version == 4 else "::"))
        except OSError:
            self._socket.close()
            raise

    def _bind(self, address: str) -> None:
        for _ in range(_PORT_TRIES):
            try:
                self._socket.bind((address, random.choice(SOURCE_PORTS)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise OSError(errno.EADDRINUSE, "no free port from 49152 on")

    def close(self) -> None:
        self._socket.close()

    def send(self, payload: bytes) -> None:
        """Send a packet. Raises OSError, but not for an ICMP error that an earlier packet has caused."""
        with contextlib.suppress(ConnectionRefusedError):
            self._socket.sendto(payload, self._destination)
