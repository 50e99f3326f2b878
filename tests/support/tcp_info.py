# SPDX-License-Identifier: Apache-2.0
"""The kernel's facts about a TCP connection."""

from __future__ import annotations

import socket
import struct


def retransmitted(connection: socket.socket) -> int:
    """Return the number of retransmitted segments: tcpi_total_retrans of `struct tcp_info` (linux/tcp.h)."""
    (count,) = struct.unpack_from("=I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)
    return int(count)
