"""ICMP errors about tunnels: their packets leave past the kernel's IP stack, whose routes shall know of them.

The kernel takes the MTU out of an error (fragmentation needed, packet too big) when there is a socket of the
protocol that the error is about, and keeps it with the route for ten minutes (mtu_expires; never less than
min_pmtu, or 1280 for IPv6): raw_err() in net/ipv4/raw.c, rawv6_err() in net/ipv6/raw.c. So here are such
sockets.
"""

from __future__ import annotations

import contextlib
import socket

from pointsman.net.socket_filter import attach_filter
from pointsman.packets import ip
from pointsman.packets.classic_bpf import Program

_PROTOCOLS = (ip.IPIP, ip.IN_IPV6, ip.GRE, ip.UDP)
_IPV6_RECVERR = 25


class PathErrors:
    """While it is there, errors about tunnels from this network namespace teach the routes here their MTU."""

    def __init__(self) -> None:
        """Raises OSError (EPERM without CAP_NET_RAW)."""
        self._sockets: list[socket.socket] = []
        try:
            for protocol in _PROTOCOLS:
                self._open(socket.AF_INET, protocol)
            with contextlib.suppress(OSError):  # a kernel without IPv6
                for protocol in _PROTOCOLS:
                    self._open(socket.AF_INET6, protocol)
        except BaseException:
            self.close()
            raise

    def _open(self, family: int, protocol: int) -> None:
        made = socket.socket(family, socket.SOCK_RAW, protocol)
        self._sockets.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        # IPv6 tells only those that want to know; few find room, nobody reads them.
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        attach_filter(made, _nothing())

    def close(self) -> None:
        while self._sockets:
            self._sockets.pop().close()


def _nothing() -> bytes:
    """Return a program that drops every packet, so that none is queued."""
    program = Program()
    program.take(0)
    return program.assembled()
