# SPDX-License-Identifier: Apache-2.0
"""Sends adverts that are wrong, as fast as it is told: `flooder SECONDS RATE < frames`; prints how many."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import socket
import sys
import time

BURST = 0.001
"""Seconds between two bursts."""
ROW = 512
"""Frames of one system call at most."""


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(_Vector)),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


class Row:
    """Frames in turn, many in one system call."""

    def __init__(self, frames: list[bytes]) -> None:
        count = ROW + len(frames)
        self._frames = frames
        self._vectors = (_Vector * count)(
            *(_Vector(frames[at % len(frames)], len(frames[at % len(frames)])) for at in range(count))
        )
        self._messages = (_Message * count)(
            *(_Message(_Header(vector=ctypes.pointer(vector), vectors=1)) for vector in self._vectors)
        )
        self._turn, self._kinds = 0, len(frames)
        self._call = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("eth0", 0))

    def send(self, count: int) -> int:
        """Return the number of packets sent; it is less if the queue is full."""
        first = ctypes.byref(self._messages, self._turn * ctypes.sizeof(_Message))
        sent = max(0, self._call(self._socket.fileno(), first, min(count, ROW), 0))
        self._turn = (self._turn + sent) % self._kinds
        return int(sent)


def main() -> None:
    seconds, rate = float(sys.argv[1]), float(sys.argv[2])
    row = Row(pickle.load(sys.stdin.buffer))
    with contextlib.suppress(OSError):  # real floods need no CPU time of this machine
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    began, sent = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        if due := int((now - began) * rate) - sent:
            sent += row.send(due)
        time.sleep(BURST)
    print(sent)


if __name__ == "__main__":
    main()
