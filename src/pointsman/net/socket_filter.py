# SPDX-License-Identifier: Apache-2.0
"""Classic BPF filters on sockets: the kernel drops unwanted packets before they are queued."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26


def attach_filter(receiver: socket.socket, code: bytes) -> None:
    """Attach a program of `packets.classic_bpf` (socket(7), SO_ATTACH_FILTER). Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
