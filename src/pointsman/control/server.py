# SPDX-License-Identifier: Apache-2.0
"""Server of the control socket: permissions, limits, and one reply to each request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from pointsman.control.client_messages import (
    Answer,
    ApplyRequest,
    ErrorReply,
    OverrideRequest,
    Pages,
    ReloadRefused,
    ReloadRequest,
    Request,
    SwitchoverRequest,
    decode_request,
    encode,
)
from pointsman.control.framing import MAX_MESSAGE, ProtocolError
from pointsman.control.readers import Readers
from pointsman.control.server_frames import read_frame, write_frame
from pointsman.model.decoding import InvalidDataError

log = logging.getLogger("control")

MAX_ROOT_CLIENTS = 64
MAX_OTHER_CLIENTS = 48
"""Clients of all users except root, in total."""
MAX_USER_CLIENTS = 16
"""Clients of one user that is not root."""
MAX_READ_REQUEST = 64 * 1024
"""Bytes of a request of a user who may only read."""
IDLE_LIMIT = 60.0
"""Seconds without a request after which a client is disconnected."""
WRITE_LIMIT = 10.0
"""Seconds within which a client must read its reply."""

MAX_TEXT = 200
"""Characters of a reply about a failed request."""
MAX_LOGGED = 20
"""Different failures of requests that are logged."""

CHANGES = (ApplyRequest, ReloadRequest, ReloadRefused, SwitchoverRequest, OverrideRequest)
"""Requests that only root may make."""

Handler = Callable[[Request, int], Awaitable[Answer]]
"""Returns the reply to a request of this user ID (0: root)."""


def peer_uid(connection: socket.socket) -> int:
    """Return the user ID of the peer process (SO_PEERCRED, unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


class ControlServer:
    """Serves requests on a unix socket. All may read; root and the daemon's own user may change."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._clients: Counter[int] = Counter()
        self._readers = Readers()
        self._logged: set[str] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on the socket. Replace a socket file that a dead director left. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        self._path.chmod(0o666)

    async def close(self) -> None:
        """Stop listening and remove the socket file."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = -1
        try:
            uid = peer_uid(writer.get_extra_info("socket"))
            self._clients[uid] += 1
            if self._exceeds_limit(uid):
                refused = ErrorReply("too many clients of this director; try again later")
                await _send(writer, _encoded(refused))
                return
            largest = MAX_MESSAGE if _may_change(uid) else MAX_READ_REQUEST
            while (data := await asyncio.wait_for(read_frame(reader, largest), IDLE_LIMIT)) is not None:
                await _send(writer, await self._answer(data, uid))
        except asyncio.CancelledError:  # the director stops; Python 3.11 logs a client that is cancelled
            writer.transport.abort()
        except (OSError, ProtocolError, TimeoutError) as error:
            log.debug("client of user %d disconnected: %s", uid, error)
            writer.transport.abort()  # also frees the part of the reply that it has not read
        finally:
            self._clients[uid] -= 1
            self._clients += Counter()  # removes users without a client
            writer.close()

    def _exceeds_limit(self, uid: int) -> bool:
        """Return True if this client, already counted, exceeds a limit. Other users do not use up root's."""
        if _may_change(uid):
            return self._clients[uid] > MAX_ROOT_CLIENTS
        others = sum(count for user, count in self._clients.items() if not _may_change(user))
        return self._clients[uid] > MAX_USER_CLIENTS or others > MAX_OTHER_CLIENTS

    async def _answer(self, data: bytes, uid: int) -> Pages:
        """Return the encoded reply. Users who may only read share a part of the director's time."""
        if _may_change(uid):
            return _encoded(await self._reply(data, uid))
        async with self._readers.turn(uid):
            if (known := self._readers.known(data)) is not None:
                return known
            reply = _encoded(await self._reply(data, uid))
            self._readers.keep(data, reply)
            return reply

    async def _reply(self, data: bytes, uid: int) -> Answer:
        try:
            request = decode_request(data)
        except InvalidDataError as error:
            return ErrorReply(f"the director does not understand this request: {error}")
        if isinstance(request, CHANGES) and not _may_change(uid):
            return ErrorReply("permission denied: only root may make changes")
        try:
            return await self._handler(request, uid)
        except Exception as error:  # a mistake in the director: the client gets an answer, the log one line
            text = f"{type(error).__name__}: {error}"[:MAX_TEXT]
            self._log_failure(f"{type(request).__name__} failed: {text}")
            return ErrorReply(f"the director failed: {text}")

    def _log_failure(self, text: str) -> None:
        """Log a failed request with its traceback. A client that repeats it does not fill the log."""
        if text not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(text)
            log.exception("%s (logged once)", text)


def _may_change(uid: int) -> bool:
    return uid in (0, os.geteuid())


def _encoded(reply: Answer) -> Pages:
    return reply if isinstance(reply, tuple) else (encode(reply),)


async def _send(writer: asyncio.StreamWriter, reply: Pages) -> None:
    """Send an encoded reply.

    Raises OSError, ProtocolError, and TimeoutError if the client does not read it.
    """
    for page in reply:
        await asyncio.wait_for(write_frame(writer, page), WRITE_LIMIT)
