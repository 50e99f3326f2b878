"""The director's side of the control socket: who may ask, one request, one reply, again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from pointsman.daemon.framing import ProtocolError, read_frame, write_frame
from pointsman.daemon.messages import (
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

MAX_CLIENTS = 64
IDLE_LIMIT = 60.0
"""Seconds after which a client that asks nothing is let go."""

CHANGES = (ApplyRequest, ReloadRequest, ReloadRefused, SwitchoverRequest, OverrideRequest)
"""Requests that only root may make."""

Handler = Callable[[Request], Reply]


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
        self._clients = 0
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
        self._clients += 1
        try:
            uid = peer_uid(writer.get_extra_info("socket"))
            while self._clients <= MAX_CLIENTS:
                data = await asyncio.wait_for(read_frame(reader), IDLE_LIMIT)
                if data is None:
                    break
                await write_frame(writer, encode(self._answer(data, uid)))
        except (OSError, ProtocolError, TimeoutError) as error:
            log.debug("client let go: %s", error)
        finally:
            self._clients -= 1
            writer.close()

    def _answer(self, data: bytes, uid: int) -> Reply:
        try:
            request = decode_request(data)
        except msgspec.MsgspecError as error:
            return ErrorReply(f"not a request that this director understands: {error}")
        if isinstance(request, CHANGES) and uid not in (0, os.geteuid()):
            return ErrorReply("permission denied: only root may change the table")
        return self._handler(request)
