"""What processes begin and end, as the kernel tells it: the proc connector.

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
"""Seconds; in a process namespace of one's own the kernel does not answer at all."""


class ProcessChange(enum.Enum):
    """The kernel's numbers (PROC_EVENT_...)."""

    STARTED = 0x1
    """By fork: `parent` tells whose copy it is."""
    BECAME = 0x2
    """By exec: another program."""
    RENAMED = 0x200
    ENDED = 0x80000000


class ProcessEvent(msgspec.Struct, frozen=True):
    change: ProcessChange
    process: int
    parent: int = 0


_CHANGES = {change.value: change for change in ProcessChange}


def parse(data: bytes) -> ProcessEvent | None:
    """The event in a datagram; None for one about a thread, or of a kind that is of no interest here."""
    if len(data) < _SHORTEST:
        return None
    change = _CHANGES.get(struct.unpack_from("=I", data, _EVENT_AT)[0])
    if change is None:
        return None
    first, group, child, child_group = _FOUR.unpack_from(data, _DETAILS_AT)
    if change is ProcessChange.STARTED:
        return ProcessEvent(change, child, group) if child == child_group else None
    return ProcessEvent(change, first) if first == group else None


class ProcessEvents:
    """All processes of this host. Non-blocking once it is made.

    Raises OSError where this cannot be had: without CAP_NET_ADMIN, in another network namespace than the
    host's first one (ECONNREFUSED), in another process namespace (ETIMEDOUT).
    """

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self._socket.bind((0, _GROUP))
            order = _CONNECTOR.pack(1, 1, 0, 0, 4, 0) + struct.pack("=I", _LISTEN)
            self._socket.send(_HEADER.pack(_HEADER.size + len(order), _DONE, 0, 0, os.getpid()) + order)
            self._await_answer()
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def _await_answer(self) -> None:
        """Raises OSError with what the kernel says about the order."""
        latest = time.monotonic() + _ANSWER_TIMEOUT
        while True:
            left = latest - time.monotonic()  # events that others have asked for come all the time
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
        """Everything queued. Raises NetlinkOverrunError when some of it was lost."""
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
