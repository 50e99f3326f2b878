"""The configuration in force and those before it, and how a new one gets from process to process.

A configuration travels as a file descriptor (memfd_create(2)) beside a message: its size does not matter, and
nobody without the right can read it (it holds passwords).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import msgspec

from pointsman.control.messages import NewConfiguration, decode_config, encode, encode_config
from pointsman.model.config import Config, Mail

MOST_KEPT = 10
"""Configurations that `pointsman rollback` can go back through."""

LARGEST_MESSAGE = 65536
_INT = struct.Struct("i")


class ConfigHistory:
    """The configuration in force, with its number, on top of the ones it has replaced."""

    def __init__(self, config: Config) -> None:
        self._kept = [(1, config)]
        self._next = 2

    @property
    def current(self) -> Config:
        return self._kept[-1][1]

    @property
    def number(self) -> int:
        return self._kept[-1][0]

    @property
    def previous(self) -> tuple[int, Config] | None:
        """What a rollback would bring back, with its number; None: nothing is left."""
        return self._kept[-2] if len(self._kept) > 1 else None

    def push(self, config: Config) -> None:
        """A new configuration is in force."""
        self._kept = [*self._kept[1 - MOST_KEPT :], (self._next, config)]
        self._next += 1

    def back(self) -> None:
        """The previous configuration is in force again."""
        self._kept.pop()


def send_config(channel: socket.socket, config: Config, rollback: bool = False) -> None:
    """Send a configuration over a SOCK_SEQPACKET channel. Raises OSError, BlockingIOError among them."""
    descriptor = os.memfd_create("configuration", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(encode_config(config))
        socket.send_fds(channel, [encode(NewConfiguration(rollback))], [descriptor], socket.MSG_DONTWAIT)
    finally:
        os.close(descriptor)


def receive_config(channel: socket.socket, flags: int = 0) -> tuple[bytes, Config | None]:
    """The next message (empty: the channel is closed), and the configuration that came with it.

    Raises OSError; msgspec.MsgspecError when what came is no configuration.
    """
    # Not by socket.recv_fds, which does not pass its flags on.
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


def _read(descriptor: int) -> Config:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return decode_config(file.read())


def for_vrrp(config: Config) -> Config:
    """What the VRRP process needs; it must not lose time on thousands of services."""
    return msgspec.structs.replace(config, virtual_servers=(), mail=Mail())


def for_bfd(config: Config) -> Config:
    """What the BFD process needs."""
    return Config(router_id=config.router_id, bfd=config.bfd)


def for_checker(config: Config) -> Config:
    """What the checker needs; it is told no passwords but that of the key that it shows."""
    return msgspec.structs.replace(config, instances=(), mail=Mail(), server_fifos=())


def for_scripts(config: Config) -> Config:
    """Return what pm-scripts needs; without instances there is nothing to watch or to tell for VRRP."""
    vrrp = config.vrrp
    if not config.instances:
        vrrp = msgspec.structs.replace(vrrp, scripts=(), files=(), processes=(), fifos=())
    return msgspec.structs.replace(config, instances=(), mail=Mail(), vrrp=vrrp)
