# SPDX-License-Identifier: Apache-2.0
"""The configuration in force and the previous ones, and passing a configuration between processes.

A configuration is passed as a file descriptor (memfd_create(2)) with a message. So its size is not limited,
and no other process can read the passwords in it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import msgspec

from pointsman.control.codec import EncodedConfig, decoder, encode_config, encoder
from pointsman.control.messages import NewConfiguration, encode
from pointsman.model.config import Config, Mail
from pointsman.model.decoding import decoding

MAX_KEPT = 10
"""Configurations that are kept for `pointsman rollback`, the one in force included."""

LARGEST_MESSAGE = 65536
"""Bytes."""
_INT = struct.Struct("i")


class ConfigHistory:
    """Stack of numbered configurations; the top is in force."""

    def __init__(self, config: Config) -> None:
        self._kept = [(1, config)]
        self._next = 2
        self.serial = 1
        """Number of changes of the configuration in force, rollbacks included."""

    @property
    def current(self) -> Config:
        """The configuration in force."""
        return self._kept[-1][1]

    @property
    def number(self) -> int:
        """Number of the configuration in force; the first one is 1."""
        return self._kept[-1][0]

    @property
    def previous(self) -> tuple[int, Config] | None:
        """Number and configuration that a rollback would restore; None: there is none."""
        return self._kept[-2] if len(self._kept) > 1 else None

    def push(self, config: Config) -> None:
        """Put a new configuration in force."""
        self._kept = [*self._kept[1 - MAX_KEPT :], (self._next, config)]
        self._next += 1
        self.serial += 1

    def roll_back(self) -> None:
        """Put the previous configuration in force again."""
        self._kept.pop()
        self.serial += 1


def send_config(
    channel: socket.socket, config: Config | EncodedConfig, rollback: bool = False, serial: int = 0
) -> None:
    """Send a configuration over a SOCK_SEQPACKET channel. Raises OSError; BlockingIOError: it is full."""
    encoded = encode_config(config) if isinstance(config, Config) else config
    descriptor = os.memfd_create("configuration", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(encoder.encode(encoded))
        socket.send_fds(
            channel, [encode(NewConfiguration(rollback, serial))], [descriptor], socket.MSG_DONTWAIT
        )
    finally:
        os.close(descriptor)


def receive_config(channel: socket.socket, flags: int = 0) -> tuple[bytes, EncodedConfig | None]:
    """Return the next message (empty: the channel is closed), and the configuration passed with it.

    Raises OSError, and InvalidDataError for a configuration that is not valid.
    """
    # socket.recv_fds does not pass its flags on.
    data, ancillary, _, _ = channel.recvmsg(LARGEST_MESSAGE, socket.CMSG_LEN(_INT.size), flags)
    descriptors = [
        number
        for level, kind, content in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for (number,) in _INT.iter_unpack(content[: len(content) - len(content) % _INT.size])
    ]
    if not descriptors:
        return data, None
    try:
        return data, _read(descriptors[0])
    finally:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _read(descriptor: int) -> EncodedConfig:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file, decoding():
        return decoder(EncodedConfig).decode(file.read())


def whole(config: Config) -> Config:
    """Return the part for the supervisor: all of it."""
    return config


def for_vrrp(config: Config) -> Config:
    """Return the part for the VRRP process, which must not spend time on thousands of services."""
    return msgspec.structs.replace(config, virtual_servers=(), mail=Mail(), sync=None)


def for_bfd(config: Config) -> Config:
    """Return the part for the BFD process."""
    return Config(router_id=config.router_id, bfd=config.bfd)


def for_sync(config: Config) -> Config:
    """Return the part for the sync process. It needs services only to ask their real servers."""
    servers = config.virtual_servers if config.sync and config.sync.ask_port else ()
    return Config(router_id=config.router_id, sync=config.sync, virtual_servers=servers)


def for_checker(config: Config) -> Config:
    """Return the part for the checker: no passwords, except those of client keys."""
    return msgspec.structs.replace(config, instances=(), mail=Mail(), server_fifos=(), sync=None)


def for_scripts(config: Config) -> Config:
    """Return the part for pm-scripts. Without instances it has no trackers of VRRP."""
    vrrp = config.vrrp
    if not config.instances:
        vrrp = msgspec.structs.replace(vrrp, scripts=(), files=(), processes=(), has_instances=False)
    return msgspec.structs.replace(config, instances=(), mail=Mail(), vrrp=vrrp, sync=None)
