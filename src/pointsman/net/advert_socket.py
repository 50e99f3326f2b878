"""The raw socket of VRRP adverts: one per interface (multicast) or per interface and source (unicast)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterable

import msgspec

from pointsman.model.address import Address
from pointsman.net.links import Link
from pointsman.vrrp.wire import GROUP, PROTOCOL, TTL

LARGEST_ADVERT = 2048
"""Bytes; the longest advert (255 IPv4 addresses) has 1056 with its headers."""
MOST_QUEUED = 1024
"""Packets that one drain reads; more cannot have been waiting in a receive buffer of this size."""

_TOS = 0xC0
_SO_TIMESTAMPNS = 35
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0
_IP_MULTICAST_ALL = 49
_IP_PKTINFO = 8
_TIMESPEC = struct.Struct("@ll")
_RECEIVE_BUFFER = 1 << 20


class Arrival(msgspec.Struct, frozen=True):
    """A packet and when the kernel received it (CLOCK_BOOTTIME)."""

    packet: bytes
    time: float


class AdvertSocket:
    """Sends and receives IPv4 packets of protocol 112 on one interface. Non-blocking.

    `source` None: multicast, member of 224.0.0.18. Raises OSError (EADDRNOTAVAIL: the source is no address of
    this host; EPERM: CAP_NET_RAW is missing).
    """

    def __init__(self, link: Link, source: ipaddress.IPv4Address | None) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._index = link.index
        self._socket = socket.socket(socket.AF_INET, kind, PROTOCOL)
        try:
            self._configure(link, source)
        except OSError:
            self._socket.close()
            raise

    def _configure(self, link: Link, source: ipaddress.IPv4Address | None) -> None:
        own = self._socket
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.name.encode() + b"\0")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        own.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)
        own.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS)
        own.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
        own.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        own.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if source is None:
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            membership = struct.pack("=4s4si", GROUP.packed, bytes(4), link.index)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        # Bound to what adverts are sent to here, so that multicast and unicast do not hear each other's.
        own.bind((str(source or GROUP), 0))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, payload: bytes, source: Address, destination: Address) -> None:
        """Send one advert. Raises OSError (the interface is down, the buffer is full)."""
        control = struct.pack("=i4s4s", self._index, source.packed, bytes(4))
        self._socket.sendmsg([payload], [(socket.IPPROTO_IP, _IP_PKTINFO, control)], 0, (str(destination), 0))

    def receive(self) -> Iterable[Arrival]:
        """Every packet that is waiting, at most MOST_QUEUED. Raises nothing: an error of the link ends it."""
        skew = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
        for _ in range(MOST_QUEUED):
            try:
                packet, control, _, _ = self._socket.recvmsg(LARGEST_ADVERT, 64)
            except OSError:
                return
            yield Arrival(packet, _arrival_time(control) + skew)


def _arrival_time(control: list[tuple[int, int, bytes]]) -> float:
    """The kernel's receive time on the real-time clock; now, when it gives none or one of the future."""
    now = time.time()
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            now = min(now, seconds + nanoseconds / 1e9)
    return now
