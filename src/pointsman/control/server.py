"""The director's side of the control socket: who may ask, one request, one reply, again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from pointsman.control.framing import ProtocolError, read_frame, write_frame
from pointsman.control.messages import (
    MAX_MESSAGE,
    ApplyRequest,
    ErrorReply,
    OverrideRequest,
    ReloadRefused,
    ReloadRequest,
    Reply,
    Request,
    SwitchoverRequest,
    decode_request,
    encode,
)

log = logging.getLogger("control")

MOST_OF_ROOT = 64
MOST_OF_OTHERS = 48
"""Clients that are not root's, all together."""
MOST_OF_A_USER = 16
"""Clients of one user that is not root."""
LARGEST_LOOK = 64 * 1024
"""Bytes of a request of somebody who may only look."""
IDLE_LIMIT = 60.0
"""Seconds after which a client that asks nothing is let go."""
WRITE_LIMIT = 10.0
"""Seconds in which a client has to take its answer."""

CHANGES = (ApplyRequest, ReloadRequest, ReloadRefused, SwitchoverRequest, OverrideRequest)
"""Requests that only root may make."""

Handler = Callable[[Request, int], Reply]
"""Answers a request of this user (0: root)."""


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


class ControlServer:
    """Serves requests on a unix socket. Anyone may look; only root (and the daemon's own user) may change."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._clients: Counter[int] = Counter()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket file left by a dead director is replaced. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        self._path.chmod(0o666)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = -1
        try:
            uid = peer_uid(writer.get_extra_info("socket"))
            self._clients[uid] += 1
            if self._crowded(uid):
                await _send(writer, ErrorReply("too many clients ask this director; try again"))
                return
            largest = MAX_MESSAGE if _may_change(uid) else LARGEST_LOOK
            while (data := await asyncio.wait_for(read_frame(reader, largest), IDLE_LIMIT)) is not None:
                await _send(writer, self._answer(data, uid))
        except (OSError, ProtocolError, TimeoutError) as error:
            log.debug("client of user %d let go: %s", uid, error)
            writer.transport.abort()  # what it has not taken goes now, and the memory with it
        finally:
            self._clients[uid] -= 1
            self._clients += Counter()  # forgets who has none left
            writer.close()

    def _crowded(self, uid: int) -> bool:
        """Whether this client, counted already, is one too many; root does not stand in others' queue."""
        if _may_change(uid):
            return self._clients[uid] > MOST_OF_ROOT
        others = sum(count for user, count in self._clients.items() if not _may_change(user))
        return self._clients[uid] > MOST_OF_A_USER or others > MOST_OF_OTHERS

    def _answer(self, data: bytes, uid: int) -> Reply:
        try:
            request = decode_request(data)
        except msgspec.MsgspecError as error:
            return ErrorReply(f"not a request that this director understands: {error}")
        if isinstance(request, CHANGES) and not _may_change(uid):
            return ErrorReply("permission denied: only root may change what this director does")
        return self._handler(request, uid)


def _may_change(uid: int) -> bool:
    return uid in (0, os.geteuid())


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Raises TimeoutError when the client does not take it, OSError, ProtocolError."""
    await asyncio.wait_for(write_frame(writer, encode(reply)), WRITE_LIMIT)
