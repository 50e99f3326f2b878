"""Classic BPF on a socket: which packets it hears, decided by the kernel before they cost anything."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26


def attach_filter(hearing: socket.socket, code: bytes) -> None:
    """Let in what this code of `packets.classic_bpf` takes (socket(7), SO_ATTACH_FILTER). Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    hearing.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
