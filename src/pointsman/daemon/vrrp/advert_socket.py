"""The raw socket of VRRP adverts: one per interface and family (multicast), or per source too (unicast)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterable

import msgspec

from pointsman.model.address import Address
from pointsman.net.links import Link
from pointsman.net.packet_batch import MOST, PacketBatch
from pointsman.net.socket_filter import attach_filter
from pointsman.packets.classic_bpf import EVERYTHING, LINK_LAYER, Program
from pointsman.packets.errors import WireError
from pointsman.vrrp.wire import GROUP, GROUP6, PROTOCOL, TTL, Datagram, decode_ipv4

LARGEST_ADVERT = 8192
"""Bytes; the longest advert (255 IPv6 addresses) has 4088 without its headers."""
MOST_QUEUED = 1024
"""Packets that one drain reads; more cannot have been waiting in a receive buffer of this size."""
_BATCH = PacketBatch()
"""Of all sockets: nothing stays in it from one call to the next."""

_TOS = 0xC0
_SO_TIMESTAMPNS = 35
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29
_IP_PKTINFO, _IPV6_FREEBIND = 8, 78
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_TIMESPEC = struct.Struct("@ll")
_PKTINFO6 = struct.Struct("=16si")
_RECEIVE_BUFFER = 1 << 20

_Control = list[tuple[int, int, bytes]]


class Arrival(msgspec.Struct, frozen=True):
    """A packet and when the kernel received it (CLOCK_BOOTTIME)."""

    datagram: Datagram
    time: float
    packet: bytes = b""
    """As it came, with its header; empty over IPv6."""


class AdvertSocket:
    """Sends and receives packets of protocol 112 on one interface. Non-blocking.

    `source` None: multicast, member of 224.0.0.18, or ff02::12 when `family` is 6. A `virtual` one, on a
    macvlan, sends from any address of this host, and hears only what has the macvlan's own MAC address as
    source: another router's with the same virtual MAC address, which the kernel keeps from the interface
    below. Raises OSError (EADDRNOTAVAIL: the source is no address of this host; EPERM: no CAP_NET_RAW).
    """

    def __init__(
        self,
        link: Link,
        source: Address | None,
        family: int = 4,
        virtual: bool = False,
        protocol: int = PROTOCOL,
        group: Address | None = None,
    ) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._index = link.index
        self._virtual = virtual
        self._protocol = protocol
        self._version = family if source is None else source.version
        self._group = group or (GROUP if self._version == 4 else GROUP6)
        inet = socket.AF_INET if self._version == 4 else socket.AF_INET6
        self._socket = socket.socket(inet, kind, protocol)
        try:
            self._configure(link, source)
        except OSError:
            self._socket.close()
            raise

    def _configure(self, link: Link, source: Address | None) -> None:
        own = self._socket
        own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.name.encode() + b"\0")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        own.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)
        if self._virtual:
            _hear_only(own, link.mac)
        if self._version == 4:
            self._configure_ipv4(link, source)
        else:
            self._configure_ipv6(link, source)

    def _configure_ipv4(self, link: Link, source: Address | None) -> None:
        own = self._socket
        own.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS)
        if self._protocol != PROTOCOL:
            own.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        own.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        own.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        if source is None:
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        if source is None:
            membership = struct.pack("=4s4si", self._group.packed, bytes(4), link.index)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        # Bound to what adverts are sent to here, so that multicast and unicast do not hear each other's.
        own.bind((str(source or self._group), 0))
        own.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)  # sends on when its source has gone meanwhile

    def _configure_ipv6(self, link: Link, source: Address | None) -> None:
        own = self._socket
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _TOS)
        own.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        if source is None:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, TTL)
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        if self._virtual:
            # The link-local source is the base interface's: a virtual one has none.
            own.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        if source is None:
            membership = self._group.packed + struct.pack("=i", link.index)
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        own.bind((str(source or self._group), 0, 0, link.index))
        own.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, payload: bytes, source: Address, destination: Address, ttl: int = TTL) -> None:
        """Send one advert. `ttl` is for unicast: multicast always leaves with 255, as it must arrive so.

        Raises OSError (the interface is down, the buffer is full).
        """
        lifetime = struct.pack("=i", TTL if destination.is_multicast else ttl)
        if self._version == 4:
            info = struct.pack("=i4s4s", self._index, source.packed, bytes(4))
            control = [
                (socket.IPPROTO_IP, _IP_PKTINFO, info),
                (socket.IPPROTO_IP, socket.IP_TTL, lifetime),
            ]
            self._socket.sendmsg([payload], control, 0, (str(destination), 0))
        else:
            control = [
                (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(source.packed, self._index)),
                (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, lifetime),
            ]
            self._socket.sendmsg([payload], control, 0, (str(destination), 0, 0, self._index))

    def send_packet(self, packet: bytes, destination: Address) -> None:
        """Send an IPv4 packet as it is, on a socket of another protocol than VRRP's. Raises OSError."""
        info = struct.pack("=i4s4s", self._index, bytes(4), bytes(4))
        self._socket.sendmsg([packet], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, (str(destination), 0))

    def receive(
        self,
        takes: Callable[[bytes, float], bool] = lambda *_: False,
        refuses: Callable[[str], None] = lambda _: None,
    ) -> Iterable[Arrival]:
        """Every packet that is waiting, at most MOST_QUEUED. Raises nothing: an error of the link ends it.

        `takes` sees IPv4 packets first, as they are, with their time; those that it takes are not handed on.
        `refuses` is told why a packet is no IP packet of this protocol as we understand them.
        """
        skew = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
        if self._version == 4:
            return self._receive_ipv4(takes, refuses, skew)
        return self._receive_ipv6(refuses, skew)

    def _receive_ipv4(
        self, takes: Callable[[bytes, float], bool], refuses: Callable[[str], None], skew: float
    ) -> Iterable[Arrival]:
        descriptor = self._socket.fileno()
        for _ in range(MOST_QUEUED // MOST):
            batch = _BATCH.receive(descriptor)
            for packet, at in batch:
                if takes(packet, at + skew):
                    continue
                try:
                    yield Arrival(decode_ipv4(packet, self._protocol), at + skew, packet)
                except WireError as error:
                    refuses(str(error))
            if len(batch) < MOST:
                return

    def _receive_ipv6(self, refuses: Callable[[str], None], skew: float) -> Iterable[Arrival]:
        for _ in range(MOST_QUEUED):
            try:
                payload, control, _, sender = self._socket.recvmsg(LARGEST_ADVERT, 256)
            except OSError:
                return
            try:
                yield Arrival(_ipv6(payload, control, sender[0]), _arrival_time(control) + skew)
            except WireError as error:
                refuses(str(error))


def _hear_only(advert_socket: socket.socket, mac: bytes) -> None:
    """Let frames from this MAC address in, and no others."""
    program = Program()
    program.unless_words(LINK_LAYER + 6, mac[:4], "drop")
    program.load_half(LINK_LAYER + 10)
    program.unless_equal(int.from_bytes(mac[4:], "big"), "drop")
    program.take(EVERYTHING)
    program.label("drop")
    program.take(0)
    attach_filter(advert_socket, program.assembled())


def _ipv6(payload: bytes, control: _Control, sender: str) -> Datagram:
    """A raw IPv6 socket gives no header: it is put together from what the kernel tells. Raises WireError."""
    found = {kind: data for level, kind, data in control if level == socket.IPPROTO_IPV6}
    try:
        destination, _ = _PKTINFO6.unpack_from(found[socket.IPV6_PKTINFO])
        (limit,) = struct.unpack_from("=i", found[socket.IPV6_HOPLIMIT])
    except (KeyError, struct.error):
        raise WireError("the kernel did not tell destination and hop limit") from None
    return Datagram(
        source=ipaddress.IPv6Address(sender.partition("%")[0]),
        destination=ipaddress.IPv6Address(destination),
        ttl=limit,
        payload=payload,
    )


def _arrival_time(control: _Control) -> float:
    """The kernel's receive time on the real-time clock; now, when it gives none or one of the future."""
    now = time.time()
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            now = min(now, seconds + nanoseconds / 1e9)
    return now
