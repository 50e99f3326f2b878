# SPDX-License-Identifier: Apache-2.0
"""Client of the control socket: send one request to the running director, receive one reply."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from pointsman.control.client_messages import (
    Reply,
    Request,
    ServicesReply,
    StatusReply,
    TableReply,
    decode_reply,
    encode,
)
from pointsman.control.framing import ProtocolError, receive_frame, send_frame
from pointsman.model.decoding import InvalidDataError

__all__ = ["ControlError", "DirectorNotRunning", "ProtocolError", "replies", "request"]

MAX_MESSAGES = 4096
"""Messages of one reply. A page has at least a slice of work, or one service."""


class ControlError(Exception):
    """No connection to the director, or no answer; the text names the cause, the place and the remedy."""


class DirectorNotRunning(ControlError):  # noqa: N818
    """No process listens on the control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no director is running here (no answer at {path}); start one with `pointsman run`")


def request(message: Request, socket_path: Path, timeout: float = 10.0) -> Reply:
    """Send one request and return the whole reply, which may be an ErrorReply. See `replies`."""
    return joined(replies(message, socket_path, timeout))


def joined(parts: Iterable[Reply]) -> Reply:
    """Return the messages of a reply as one."""
    *others, last = parts
    if isinstance(last, StatusReply) and others:
        return last.preceded_by(part for part in others if isinstance(part, ServicesReply))
    if isinstance(last, TableReply) and others:
        first, *rest = (part for part in (*others, last) if isinstance(part, TableReply))
        return first.followed_by(rest)
    return last


def replies(message: Request, socket_path: Path, timeout: float = 10.0) -> Iterator[Reply]:
    """Send one request and yield the messages of the reply: several of a long table or status, else one.

    `timeout`: seconds for the request, and again for each message. Raises DirectorNotRunning, ControlError,
    and ProtocolError if an answer is not a reply.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(socket_path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise DirectorNotRunning(socket_path) from None
        except PermissionError:
            raise ControlError(f"permission denied: {socket_path}; run this command as root") from None
        except OSError as error:
            raise ControlError(f"cannot connect to {socket_path}: {error}") from error
        with _patience(socket_path, timeout):
            send_frame(connection, encode(message), timeout)
        for _ in range(MAX_MESSAGES):
            with _patience(socket_path, timeout):
                answer = receive_frame(connection, timeout)
            reply = _decode(answer, socket_path)
            yield reply
            if not _is_followed(reply):
                return
    raise ProtocolError(f"the answer from {socket_path} does not end")


def _is_followed(reply: Reply) -> bool:
    """True if another message of the same reply follows."""
    return isinstance(reply, ServicesReply) or (isinstance(reply, TableReply) and reply.more)


@contextlib.contextmanager
def _patience(socket_path: Path, timeout: float) -> Iterator[None]:
    """Wait for the director in this block. Raises ControlError in place of OSError."""
    try:
        yield
    except TimeoutError as error:
        why = f"the director at {socket_path} does not answer within {timeout:g} s"
        raise ControlError(f"{why}; it is overloaded or stopped, its log may tell") from error
    except OSError as error:
        raise ControlError(f"the director at {socket_path} does not answer: {error}") from error


def _decode(answer: bytes | None, socket_path: Path) -> Reply:
    if answer is None:
        raise ProtocolError(f"the director at {socket_path} closed the connection without an answer")
    try:
        return decode_reply(answer)
    except InvalidDataError as error:
        raise ProtocolError(f"the answer from {socket_path} is not a reply: {error}") from error
