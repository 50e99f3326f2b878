# SPDX-License-Identifier: Apache-2.0
"""Raw sockets for VRRP adverts: one per interface and family (multicast), one per source (unicast)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterable

import msgspec

from pointsman.model.address import Address
from pointsman.net.links import Link
from pointsman.net.packet_batch import MAX_PACKETS as BATCH_SIZE
from pointsman.net.packet_batch import PacketBatch
from pointsman.net.socket_filter import attach_filter
from pointsman.packets.classic_bpf import EVERYTHING, LINK_LAYER, Program
from pointsman.packets.errors import WireError
from pointsman.vrrp.wire import GROUP, GROUP6, PROTOCOL, TTL, Datagram, decode_ipv4

MAX_ADVERT = 8192
"""Bytes. The longest advert (255 IPv6 addresses) has 4088 without its headers."""
MAX_QUEUED = 1024
"""Maximum number of packets in one call of `receive`. The receive buffer cannot contain more."""
_BATCH = PacketBatch()
"""Buffer that all sockets share. Nothing stays in it between two calls."""

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
    """A packet and its receive time in the kernel (CLOCK_BOOTTIME)."""

    datagram: Datagram
    time: float
    packet: bytes = b""
    """Bytes of the whole packet, with its header. Empty for IPv6."""


class AdvertSocket:
    """Non-blocking socket for the packets of protocol 112 (or AH) on one interface.

    `source` None: multicast, member of 224.0.0.18, or of ff02::12 if `family` is 6. With `virtual`, the
    interface is a macvlan: the socket sends from any address of this host, and receives only packets with the
    macvlan's own MAC address as source. These come from another router with the same virtual MAC address; the
    kernel does not deliver them to the base interface.
    Raises OSError (EADDRNOTAVAIL: the source is no address of this host; EPERM: no CAP_NET_RAW).
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
        needs_entry = source is None and len(link.mac) == 6
        self.group_entry = (link.index, self._group) if needs_entry else None
        """Interface index and multicast group that need an entry of the neighbour table. None: unicast."""
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
            _accept_only_source(own, link.mac)
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
        # The bound address is the destination of adverts: multicast and unicast sockets get only their own.
        own.bind((str(source or self._group), 0))
        # Sending works even after the source address was removed.
        own.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)

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
            # The link-local source is on the base interface. The virtual interface has none.
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
        """Send one advert. `ttl` is for unicast. Multicast always has 255, because receivers require it.

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
        """Send a complete IPv4 packet, on a socket of another protocol than VRRP (AH). Raises OSError."""
        info = struct.pack("=i4s4s", self._index, bytes(4), bytes(4))
        self._socket.sendmsg([packet], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, (str(destination), 0))

    def receive(
        self,
        is_handled: Callable[[bytes, float], bool] = lambda *_: False,
        on_malformed: Callable[[str], None] = lambda _: None,
    ) -> Iterable[Arrival]:
        """Return the waiting packets, at most MAX_QUEUED. Raises nothing: an error of the link ends it.

        `is_handled` gets the bytes and the time of each IPv4 packet first. If it returns True, the packet is
        not decoded and not returned. `on_malformed` gets the reason why a packet cannot be decoded.
        """
        skew = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
        if self._version == 4:
            return self._receive_ipv4(is_handled, on_malformed, skew)
        return self._receive_ipv6(on_malformed, skew)

    def _receive_ipv4(
        self, is_handled: Callable[[bytes, float], bool], on_malformed: Callable[[str], None], skew: float
    ) -> Iterable[Arrival]:
        descriptor = self._socket.fileno()
        for _ in range(MAX_QUEUED // BATCH_SIZE):
            batch = _BATCH.receive(descriptor)
            for packet, at in batch:
                if is_handled(packet, at + skew):
                    continue
                try:
                    yield Arrival(decode_ipv4(packet, self._protocol), at + skew, packet)
                except WireError as error:
                    on_malformed(str(error))
            if len(batch) < BATCH_SIZE:
                return

    def _receive_ipv6(self, on_malformed: Callable[[str], None], skew: float) -> Iterable[Arrival]:
        for _ in range(MAX_QUEUED):
            try:
                payload, control, _, sender = self._socket.recvmsg(MAX_ADVERT, 256)
            except OSError:
                return
            try:
                yield Arrival(_datagram_ipv6(payload, control, sender[0]), _arrival_time(control) + skew)
            except WireError as error:
                on_malformed(str(error))


def _accept_only_source(advert_socket: socket.socket, mac: bytes) -> None:
    """Attach a filter that accepts only frames with this source MAC address."""
    program = Program()
    program.unless_words(LINK_LAYER + 6, mac[:4], "drop")
    program.load_half(LINK_LAYER + 10)
    program.unless_equal(int.from_bytes(mac[4:], "big"), "drop")
    program.accept(EVERYTHING)
    program.label("drop")
    program.accept(0)
    attach_filter(advert_socket, program.assemble())


def _datagram_ipv6(payload: bytes, control: _Control, sender: str) -> Datagram:
    """Return a datagram from the control messages. A raw IPv6 socket gives no header. Raises WireError."""
    found = {kind: data for level, kind, data in control if level == socket.IPPROTO_IPV6}
    try:
        destination, _ = _PKTINFO6.unpack_from(found[socket.IPV6_PKTINFO])
        (limit,) = struct.unpack_from("=i", found[socket.IPV6_HOPLIMIT])
    except (KeyError, struct.error):
        raise WireError("the kernel gave no destination or hop limit") from None
    return Datagram(
        source=ipaddress.IPv6Address(sender.partition("%")[0]),
        destination=ipaddress.IPv6Address(destination),
        ttl=limit,
        payload=payload,
    )


def _arrival_time(control: _Control) -> float:
    """Return the kernel's receive time on the real-time clock. If it has none or a future one, return now."""
    now = time.time()
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            now = min(now, seconds + nanoseconds / 1e9)
    return now
