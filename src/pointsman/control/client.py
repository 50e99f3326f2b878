"""Asking the running director: one request, one reply, over its control socket."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from pointsman.control.framing import ProtocolError, receive_frame, send_frame
from pointsman.control.messages import Reply, Request, decode_reply, encode

__all__ = ["ControlError", "DirectorNotRunning", "ProtocolError", "request"]


class ControlError(Exception):
    """The director could not be asked, or has not answered; the text says what, where and what to do."""


class DirectorNotRunning(ControlError):  # noqa: N818
    """Nobody listens at the control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no director is running here (no answer at {path}); start one with `pointsman run`")


def request(message: Request, socket_path: Path, timeout: float = 10.0) -> Reply:
    """Send one request and return the reply (an ErrorReply too).

    `timeout`: seconds for the request, and again for the reply. Raises DirectorNotRunning, ControlError, and
    ProtocolError when what came back is not a reply.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(socket_path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise DirectorNotRunning(socket_path) from None
        except PermissionError:
            raise ControlError(f"permission to use {socket_path} denied; try as root") from None
        except OSError as error:
            raise ControlError(f"cannot connect to {socket_path}: {error}") from error
        try:
            send_frame(connection, encode(message), timeout)
            answer = receive_frame(connection, timeout)
        except OSError as error:
            raise ControlError(f"the director at {socket_path} does not answer: {error}") from error
    if answer is None:
        raise ProtocolError(f"the director at {socket_path} closed the connection without an answer")
    try:
        return decode_reply(answer)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"what came from {socket_path} is not a reply: {error}") from error
