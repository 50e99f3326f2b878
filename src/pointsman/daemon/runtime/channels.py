# SPDX-License-Identifier: Apache-2.0
"""Channels between the processes: the ends of the director, and the reader of messages."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from pointsman.control import messages
from pointsman.control.codec import ConfigDecoder
from pointsman.control.messages import NewConfiguration
from pointsman.daemon.runtime.config_history import (
    for_bfd,
    for_checker,
    for_scripts,
    for_sync,
    for_vrrp,
    receive_config,
    whole,
)
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.model.config import Config
from pointsman.model.decoding import InvalidDataError, decoding
from pointsman.model.health import VirtualServer

_director_log = logging.getLogger("director")

MAX_DROPPED = 100
"""Invalid datagrams that one call of Inbox.receive drops at most."""

_Message = TypeVar("_Message", covariant=True)


class Channels(msgspec.Struct, frozen=True):
    """Ends of the director (SOCK_SEQPACKET), by the name of the process at the other end."""

    vrrp: socket.socket
    checker: socket.socket
    scripts: socket.socket
    bfd: socket.socket
    sync: socket.socket

    def all(self) -> tuple[socket.socket, ...]:
        """Return every channel."""
        return self.vrrp, self.checker, self.scripts, self.bfd, self.sync


class Inbox(Generic[_Message]):
    """Reads the messages of one direction of a channel. Never blocks.

    An invalid message is dropped. Only the first one is logged.
    """

    def __init__(
        self,
        channel: socket.socket,
        decoder: msgspec.json.Decoder[_Message],
        sender: str,
        log: logging.Logger,
        began_with: int = 0,
        virtual_servers: Iterable[VirtualServer] = (),
    ) -> None:
        """`sender`: name of the process at the other end in log lines.

        `began_with`: serial of the configuration that this process began with. Earlier ones, which wait in
        the channel of a process that did not run, are dropped. `virtual_servers`: those of that
        configuration; later ones have most of them in common with it.
        """
        self.channel = channel
        self.closed = False
        """True after the other end was closed."""
        self._decoder = decoder
        self._sender = sender
        self._log = log
        self._once = LogOnce(log)
        self._began_with = began_with
        self._configs = ConfigDecoder(virtual_servers)

    def receive(self) -> _Message | None:
        """Return the next message; None: there is none now, or the other end was closed (`closed`).

        A NewConfiguration has its configuration. One that cannot be decoded is logged and dropped.
        """
        for _ in range(MAX_DROPPED):
            try:
                data, config = receive_config(self.channel, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                self._log.error("cannot read from the %s: %s", self._sender, error.strerror)
                self.closed = True
                return None
            except InvalidDataError as error:
                self._log_undecodable(error)
                continue
            if not data:
                self.closed = True
                return None
            try:
                with decoding():
                    message = self._decoder.decode(data)
            except InvalidDataError as error:
                self._log_invalid(str(error))
                continue
            if not isinstance(message, NewConfiguration):
                return message
            if 0 < message.serial <= self._began_with:
                continue
            if config is None:
                self._log_invalid("a new configuration without a file descriptor")
                continue
            try:
                return msgspec.structs.replace(message, config=self._configs.decode(config))
            except InvalidDataError as error:
                self._log_undecodable(error)
        return None

    def _log_undecodable(self, error: InvalidDataError) -> None:
        self._log.error("cannot decode the new configuration, keeping the current one: %s", error)

    def _log_invalid(self, reason: str) -> None:
        text = "dropped an invalid message of the %s: %s (logged once)"
        self._once.error("invalid", text, self._sender, reason)


Receiver = tuple[socket.socket, Callable[[Config], Config]]
"""A channel, and the function that returns the part of a configuration that its process needs: decoding the
rest would take time there."""


def inboxes(channels: Channels) -> tuple[Inbox[messages.Report], ...]:
    """Return the inboxes of the director. Each takes only the reports of its process."""
    return (
        Inbox(channels.vrrp, messages.vrrp_report_decoder, "VRRP process", _director_log),
        Inbox(channels.checker, messages.result_decoder, "checker", _director_log),
        Inbox(channels.scripts, messages.scripts_report_decoder, "scripts process", _director_log),
        Inbox(channels.bfd, messages.session_decoder, "BFD process", _director_log),
        Inbox(channels.sync, messages.sync_report_decoder, "sync process", _director_log),
    )


def receivers(channels: Channels, supervisor: socket.socket) -> tuple[Receiver, ...]:
    """Return who gets a new configuration. The supervisor gets all of it."""
    return (
        (channels.vrrp, for_vrrp),
        (channels.checker, for_checker),
        (channels.scripts, for_scripts),
        (channels.bfd, for_bfd),
        (channels.sync, for_sync),
        (supervisor, whole),
    )


def ask_again(channel: socket.socket) -> None:
    """Ask a process to report everything. One that is not there yet reports when it starts."""
    with contextlib.suppress(OSError):
        channel.send(messages.encode(messages.Resync()))
