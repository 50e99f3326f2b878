# SPDX-License-Identifier: Apache-2.0
"""Framing of messages on the control socket (framing.py) for asyncio."""

from __future__ import annotations

import asyncio

from pointsman.control.framing import LENGTH, MAX_MESSAGE, ProtocolError, announced_length, frame


async def read_frame(reader: asyncio.StreamReader, largest: int = MAX_MESSAGE) -> bytes | None:
    """Return the next message; None: the peer closed before a message.

    Raises OSError, and ProtocolError if the peer closes in the middle of a message or announces more than
    `largest` bytes.
    """
    try:
        head = await reader.readexactly(LENGTH.size)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ProtocolError("connection closed in the length of a message") from error
        return None
    length = announced_length(head, largest)
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise ProtocolError(
            f"connection closed after {len(error.partial)} of {length} bytes of a message"
        ) from error


async def write_frame(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send one message and wait until the write buffer has room. Raises OSError and ProtocolError."""
    writer.write(frame(message))
    await writer.drain()
