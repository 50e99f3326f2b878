"""The channels between the processes: the director's ends by name, and how messages are read."""

from __future__ import annotations

import logging
import socket
from typing import Generic, TypeVar

import msgspec

from pointsman.control.messages import NewConfiguration
from pointsman.daemon.runtime.config_history import receive_config
from pointsman.daemon.runtime.log_once import LogOnce

MOST_DROPPED = 100
"""Datagrams that are no message, and that one call of Inbox.receive drops."""

_Message = TypeVar("_Message", covariant=True)


class Channels(msgspec.Struct, frozen=True):
    """The director's ends, each a SOCK_SEQPACKET socket, by the name of the process at the other end."""

    vrrp: socket.socket
    checker: socket.socket
    scripts: socket.socket
    bfd: socket.socket

    def all(self) -> tuple[socket.socket, ...]:
        """Return every channel."""
        return self.vrrp, self.checker, self.scripts, self.bfd


class Inbox(Generic[_Message]):
    """Reads the messages of one direction of a channel; never blocks.

    Bytes that are no message of this direction are dropped. The first of them are logged, later ones are not.
    """

    def __init__(
        self,
        channel: socket.socket,
        decoder: msgspec.json.Decoder[_Message],
        sender: str,
        log: logging.Logger,
    ) -> None:
        """`sender`: the process at the other end, as log lines call it."""
        self.channel = channel
        self.closed = False
        """True once the other end is gone."""
        self._decoder = decoder
        self._sender = sender
        self._log = log
        self._once = LogOnce(log)

    def receive(self) -> _Message | None:
        """Return the next message; None: there is none at present, or the other end is gone (`closed`).

        A NewConfiguration bears its configuration. One that cannot be read is logged and dropped.
        """
        for _ in range(MOST_DROPPED):
            try:
                data, config = receive_config(self.channel, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                self._log.error("cannot hear the %s: %s", self._sender, error.strerror)
                self.closed = True
                return None
            except msgspec.MsgspecError as error:
                self._log.error("configuration not understood, the former one stays: %s", error)
                continue
            if not data:
                self.closed = True
                return None
            try:
                message = self._decoder.decode(data)
            except msgspec.MsgspecError as error:
                self._complain(str(error))
                continue
            if not isinstance(message, NewConfiguration):
                return message
            if config is not None:
                return msgspec.structs.replace(message, config=config)
            self._complain("a new configuration without a file descriptor")
        return None

    def _complain(self, why: str) -> None:
        text = "message of the %s not understood and dropped: %s (logged once)"
        self._once.error("not understood", text, self._sender, why)
