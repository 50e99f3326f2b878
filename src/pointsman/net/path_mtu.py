# SPDX-License-Identifier: Apache-2.0
"""Path MTU discovery for tunnels: sockets that make the kernel learn from ICMP errors about them.

Packets in a tunnel leave from XDP, past the kernel's IP stack. Their MTU is read from the kernel's routes.
The kernel takes the MTU out of an ICMP error (fragmentation needed, packet too big) only if there is a socket
of the protocol that the error is about: raw_err() in net/ipv4/raw.c, rawv6_err() in net/ipv6/raw.c. It keeps
the MTU with the route for ten minutes (mtu_expires). The MTU is never below min_pmtu, or 1280 for IPv6.
"""

from __future__ import annotations

import contextlib
import socket

from pointsman.net.socket_filter import attach_filter
from pointsman.packets import ip
from pointsman.packets.classic_bpf import Program

_PROTOCOLS = (ip.IPIP, ip.IN_IPV6, ip.GRE, ip.UDP)
_IPV6_RECVERR = 25


class PathMtuSockets:
    """Raw sockets of all tunnel protocols, which receive nothing.

    While they are open, ICMP errors about tunnels set the MTU of routes in this network namespace.
    """

    def __init__(self) -> None:
        """Open the sockets. Raises OSError (EPERM without CAP_NET_RAW)."""
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
        # IPv6 handles errors only for sockets with this option. It queues them, and the smallest buffer is
        # soon full; they are never read.
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        attach_filter(made, _drop_all())

    def close(self) -> None:
        while self._sockets:
            self._sockets.pop().close()


def _drop_all() -> bytes:
    """Return a filter that drops every packet, so that none is queued."""
    program = Program()
    program.accept(0)
    return program.assemble()
