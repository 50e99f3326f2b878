# SPDX-License-Identifier: Apache-2.0
"""Accept queues of listening TCP sockets, from the kernel (sock_diag(7), net/ipv4/inet_diag.c)."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from pointsman.doctor.facts import ListenQueue
from pointsman.net.netlink import NetlinkSocket

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_LISTEN = 10
_REQUEST = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, extensions, states; no socket is named."""
_PORT_AND_SOURCE = struct.Struct("!4xH2x16s")
_QUEUES = struct.Struct("=II")
_QUEUES_AT = 56
"""Offset of idiag_rqueue in struct inet_diag_msg."""


def listen_queues() -> Iterator[ListenQueue]:
    """Yield the queue of every listening TCP socket of this network namespace. Raises OSError."""
    with NetlinkSocket(_NETLINK_SOCK_DIAG) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << _LISTEN)
            for message in netlink.dump(_SOCK_DIAG_BY_FAMILY, request):
                port, source = _PORT_AND_SOURCE.unpack_from(message.payload)
                address = ipaddress.ip_address(source[:4] if message.payload[0] == socket.AF_INET else source)
                yield ListenQueue(str(address), port, *_QUEUES.unpack_from(message.payload, _QUEUES_AT))


def listen_overflows() -> int:
    """Return how often an accept queue was full when a handshake ended (ListenOverflows), since boot."""
    rows = [
        line.split()
        for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    ]
    values = dict(zip(rows[0], rows[1], strict=False)) if len(rows) == 2 else {}
    return int(values.get("ListenOverflows", 0))
