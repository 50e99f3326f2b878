# SPDX-License-Identifier: Apache-2.0
"""Framing of messages on the control socket: a length of four bytes (big-endian), then the message.

The functions of asyncio are in server_frames.py, because a verb of the command line has no use for asyncio.
"""

from __future__ import annotations

import socket
import struct
import time

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes. A longer message closes the connection."""
LENGTH = struct.Struct("!I")


class ProtocolError(Exception):
    """The peer broke the framing, or its bytes are not a message."""


def frame(message: bytes) -> bytes:
    """Return a message with its length in front. Raises ProtocolError if it is longer than MAX_MESSAGE."""
    if len(message) > MAX_MESSAGE:
        raise ProtocolError(f"message of {len(message)} bytes; the limit is {MAX_MESSAGE}")
    return LENGTH.pack(len(message)) + message


def send_frame(connection: socket.socket, message: bytes, timeout: float | None = None) -> None:
    """Send one whole message within `timeout` seconds.

    Raises OSError (TimeoutError among them) and ProtocolError.
    """
    connection.settimeout(timeout)
    connection.sendall(frame(message))


def receive_frame(connection: socket.socket, timeout: float | None = None) -> bytes | None:
    """Return the next message, received within `timeout` seconds; None: the peer closed before a message.

    Raises OSError (TimeoutError among them), and ProtocolError if the peer closes in the middle of a message
    or announces more than MAX_MESSAGE bytes.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    head = _receive(connection, LENGTH.size, deadline)
    if not head:
        return None
    length = announced_length(head)
    body = _receive(connection, length, deadline)
    if len(body) < length:
        raise ProtocolError(f"connection closed after {len(body)} of {length} bytes of a message")
    return body


def announced_length(head: bytes, largest: int = MAX_MESSAGE) -> int:
    """Return the length of a message. Raises ProtocolError for half a length, and for one above `largest`."""
    if len(head) < LENGTH.size:
        raise ProtocolError("connection closed in the length of a message")
    length: int = LENGTH.unpack(head)[0]
    if length > largest:
        raise ProtocolError(f"peer announces a message of {length} bytes; the limit is {largest}")
    return length


def _receive(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    """Return `size` bytes, or fewer if the peer closes."""
    data = bytearray()
    while len(data) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no complete message in time")
            connection.settimeout(left)
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    return bytes(data)
