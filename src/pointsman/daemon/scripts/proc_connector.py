# SPDX-License-Identifier: Apache-2.0
"""The kernel's proc connector: events for processes that fork, exec, change their name and exit.

Layouts: include/uapi/linux/cn_proc.h and connector.h.
"""

from __future__ import annotations

import enum
import errno
import os
import select
import socket
import struct
import time

import msgspec

from pointsman.net.netlink import NetlinkOverrunError

_NETLINK_CONNECTOR, _GROUP = 11, 1
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 21
_LISTEN, _DONE = 1, 3
_HEADER = struct.Struct("=IHHII")
_CONNECTOR = struct.Struct("=IIIIHH")
_EVENT_AT = _HEADER.size + _CONNECTOR.size
_DETAILS_AT = _EVENT_AT + 16
_FOUR = struct.Struct("=IIII")
_SHORTEST = _DETAILS_AT + _FOUR.size
_LONGEST = 512
_ANSWER_TIMEOUT = 1.0
"""Seconds to wait for the kernel's answer. In a PID namespace other than the first there is none."""


class ProcessChange(enum.Enum):
    """Kind of event, with the kernel's number (PROC_EVENT_...)."""

    FORK = 0x1
    """A new process. `parent` is the process that was copied."""
    EXEC = 0x2
    """The process runs another program."""
    COMM = 0x200
    """The short name (comm) has changed."""
    EXIT = 0x80000000


class ProcessEvent(msgspec.Struct, frozen=True):
    """Event of one process, by process id."""

    change: ProcessChange
    process: int
    parent: int = 0


_CHANGES = {change.value: change for change in ProcessChange}


def parse(data: bytes) -> ProcessEvent | None:
    """Return the event in a datagram. None: it is about a thread, or of a kind that is not used here."""
    if len(data) < _SHORTEST:
        return None
    change = _CHANGES.get(struct.unpack_from("=I", data, _EVENT_AT)[0])
    if change is None:
        return None
    first, group, child, child_group = _FOUR.unpack_from(data, _DETAILS_AT)
    if change is ProcessChange.FORK:
        return ProcessEvent(change, child, group) if child == child_group else None
    return ProcessEvent(change, first) if first == group else None


class ProcessEvents:
    """Socket of the proc connector, for all processes of this host. `read` does not block.

    Raises OSError if there are no events: without CAP_NET_ADMIN, in a network namespace other than the
    host's first one (ECONNREFUSED), in another PID namespace (ETIMEDOUT).
    """

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self._socket.bind((0, _GROUP))
            request = _CONNECTOR.pack(1, 1, 0, 0, 4, 0) + struct.pack("=I", _LISTEN)
            self._socket.send(_HEADER.pack(_HEADER.size + len(request), _DONE, 0, 0, os.getpid()) + request)
            self._await_answer()
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def _await_answer(self) -> None:
        """Wait for the kernel's answer to the request. Raises OSError with the error in it."""
        latest = time.monotonic() + _ANSWER_TIMEOUT
        while True:
            left = latest - time.monotonic()  # other listeners cause events all the time
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise OSError(errno.ETIMEDOUT, "the kernel does not answer")
            data = self._socket.recv(_LONGEST)
            if len(data) >= _SHORTEST and data[_EVENT_AT : _EVENT_AT + 4] == bytes(4):
                (code,) = struct.unpack_from("=I", data, _DETAILS_AT)
                if code:
                    raise OSError(code, os.strerror(code))
                return

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> list[ProcessEvent]:
        """Return all queued events. Raises NetlinkOverrunError if some were lost."""
        found: list[ProcessEvent] = []
        while True:
            try:
                data, sender = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                return found
            except OSError as error:
                raise NetlinkOverrunError from error
            event = parse(data) if sender[0] == 0 else None
            if event is not None:
                found.append(event)
