# SPDX-License-Identifier: Apache-2.0
"""The UDP sockets of connection_sync: one for the peers, and one for the multicast group."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from pointsman.model.config import ConnectionSync
from pointsman.sync.wire import LONGEST

MOST_READ = 256
"""Datagrams that one call of `receive` reads at most."""
_BUFFER = 4 << 20
"""Bytes that the kernel keeps for us: about 100 ms at 100,000 connections a second."""
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32


class SyncSockets:
    """Sends and receives datagrams. Raises OSError if an address cannot be used."""

    def __init__(self, settings: ConnectionSync) -> None:
        self._family = socket.AF_INET if settings.peers[0].address.version == 4 else socket.AF_INET6
        self.all: list[socket.socket] = []
        try:
            self._direct = self._open(str(settings.bind_address or ""), settings.port)
            if settings.group is not None:
                self._join(settings)
        except OSError:
            self.close()
            raise

    def receive(self, readable: socket.socket) -> Iterator[tuple[str, bytes]]:
        """Yield source address and content of the datagrams that wait."""
        for _ in range(MOST_READ):
            try:
                data, source = readable.recvfrom(LONGEST + 1)
            except OSError:  # none waits; or an earlier one was refused, which says nothing of others
                return
            yield source[0].partition("%")[0], data

    def send(self, address: str, port: int, data: bytes) -> None:
        """Send a datagram. Raises OSError."""
        self._direct.sendto(data, (address, port))

    def close(self) -> None:
        """Close all sockets."""
        for each in self.all:
            each.close()
        self.all.clear()

    def _open(self, address: str, port: int) -> socket.socket:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        opened = socket.socket(self._family, kind)
        self.all.append(opened)
        for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if self._family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, port))
        return opened

    def _join(self, settings: ConnectionSync) -> None:
        """Receive from the group, and send to it by its interface."""
        group, interface = str(settings.group), settings.interface
        index = socket.if_nametoindex(interface) if interface else 0
        listening = self._open(group, settings.port)
        packed = socket.inet_pton(self._family, group)
        if self._family == socket.AF_INET:
            request = struct.pack("=4s4si", packed, bytes(4), index)
            listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            if index:
                outward = struct.pack("=4s4si", bytes(4), bytes(4), index)
                self._direct.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, outward)
            self._direct.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            return
        request = struct.pack("=16si", packed, index)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        if index:
            self._direct.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        self._direct.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
