"""How messages are told apart on a stream: four bytes of length (big-endian), then the message.

One framing for the control socket and for the channels between the processes, blocking and asyncio.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time

from pointsman.control.messages import MAX_MESSAGE

_LENGTH = struct.Struct("!I")


class ProtocolError(Exception):
    """The peer did not keep to the framing, or what it sent is not a message."""


def frame(message: bytes) -> bytes:
    """The bytes that carry one message. Raises ProtocolError when it is longer than MAX_MESSAGE."""
    if len(message) > MAX_MESSAGE:
        raise ProtocolError(f"message of {len(message)} bytes; the most is {MAX_MESSAGE}")
    return _LENGTH.pack(len(message)) + message


def send_frame(connection: socket.socket, message: bytes, timeout: float | None = None) -> None:
    """Send one message, all of it within `timeout` seconds.

    Raises OSError (TimeoutError among them) and ProtocolError.
    """
    connection.settimeout(timeout)
    connection.sendall(frame(message))


def receive_frame(connection: socket.socket, timeout: float | None = None) -> bytes | None:
    """The next message, all of it within `timeout` seconds; None when the peer closed before one began.

    Raises OSError (TimeoutError among them), and ProtocolError when the peer closes in the middle or
    announces more than MAX_MESSAGE.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    head = _receive(connection, _LENGTH.size, deadline)
    if not head:
        return None
    length = _announced(head)
    body = _receive(connection, length, deadline)
    if len(body) < length:
        raise ProtocolError(f"connection closed after {len(body)} of {length} bytes of a message")
    return body


async def read_frame(reader: asyncio.StreamReader, largest: int = MAX_MESSAGE) -> bytes | None:
    """The next message; None when the peer closed before one began.

    Raises OSError, and ProtocolError when the peer closes in the middle or announces more than `largest`.
    """
    try:
        head = await reader.readexactly(_LENGTH.size)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ProtocolError("connection closed in the length of a message") from error
        return None
    length = _announced(head, largest)
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise ProtocolError(
            f"connection closed after {len(error.partial)} of {length} bytes of a message"
        ) from error


async def write_frame(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send one message and wait until the stream has room again. Raises OSError and ProtocolError."""
    writer.write(frame(message))
    await writer.drain()


def _announced(head: bytes, largest: int = MAX_MESSAGE) -> int:
    if len(head) < _LENGTH.size:
        raise ProtocolError("connection closed in the length of a message")
    length: int = _LENGTH.unpack(head)[0]
    if length > largest:
        raise ProtocolError(f"peer announces a message of {length} bytes; the most is {largest}")
    return length


def _receive(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    """`size` bytes, or fewer when the peer closes."""
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
