# SPDX-License-Identifier: Apache-2.0
"""Many packets in one system call (recvmmsg(2)), each with the time at which the kernel received it.

Hundreds of virtual routers receive hundreds of adverts a second, in bursts. With recvmsg the system call and
the Python objects for each packet cost more than the rest of the reception.
"""

from __future__ import annotations

import ctypes
import struct
import time
from typing import Final

MAX_SIZE: Final = 2048
"""Bytes of a packet that are read. The longest advert over IPv4 (255 addresses, authentication) has 1,148."""
MAX_PACKETS: Final = 64
"""Packets in one call."""

_MSG_DONTWAIT = 0x40
_HEADER = struct.Struct("@PI4xPQPQi4xI4x")
"""struct mmsghdr: name, its size, iovec, their number, control, its size, flags; bytes received."""
_SIZES = struct.Struct("@40xQ8xI4x")
"""The fields of struct mmsghdr that are read: size of the control data, and bytes received."""
_VECTOR = struct.Struct("@PQ")
_STAMP = struct.Struct("@16xqq")
"""The control data of SO_TIMESTAMPNS: struct cmsghdr, then struct timespec."""

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_recvmmsg.restype = ctypes.c_int


class PacketBatch:
    """Memory for MAX_PACKETS packets that every call reuses."""

    def __init__(self) -> None:
        self._packets = bytearray(MAX_SIZE * MAX_PACKETS)
        self._controls = bytearray(_STAMP.size * MAX_PACKETS)
        self._vectors = bytearray(_VECTOR.size * MAX_PACKETS)
        self._headers = bytearray(_HEADER.size * MAX_PACKETS)
        packets, controls, vectors = map(_address, (self._packets, self._controls, self._vectors))
        for number in range(MAX_PACKETS):
            _VECTOR.pack_into(self._vectors, number * _VECTOR.size, packets + number * MAX_SIZE, MAX_SIZE)
            _HEADER.pack_into(
                *(self._headers, number * _HEADER.size, 0, 0, vectors + number * _VECTOR.size, 1),
                *(controls + number * _STAMP.size, _STAMP.size, 0, 0),
            )
        self._blank = bytes(self._headers)
        self._place = ctypes.c_void_p(_address(self._headers))
        self._view = memoryview(self._packets)

    def receive(self, descriptor: int) -> list[tuple[bytes, float]]:
        """Return the packets that are queued, at most MAX_PACKETS, with their time (CLOCK_REALTIME).

        A packet without a time, or with a time in the future, gets the present time. An error of the socket
        gives an empty list. SO_TIMESTAMPNS must be the only control data that the socket is set to return.
        """
        self._headers[:] = self._blank  # the last call has overwritten the sizes
        count = _recvmmsg(descriptor, self._place, MAX_PACKETS, _MSG_DONTWAIT, None)
        if count <= 0:
            return []
        now = time.time()
        found: list[tuple[bytes, float]] = []
        start = 0
        headers = memoryview(self._headers)[: count * _HEADER.size]
        stamps = memoryview(self._controls)[: count * _STAMP.size]
        for (control_size, size), (seconds, nanoseconds) in zip(
            _SIZES.iter_unpack(headers), _STAMP.iter_unpack(stamps), strict=True
        ):
            at = seconds + nanoseconds / 1e9
            if at > now or control_size < _STAMP.size:
                at = now
            found.append((self._view[start : start + size].tobytes(), at))
            start += MAX_SIZE
        return found


def _address(memory: bytearray) -> int:
    """Return the memory's address. It never changes, because the memory is never resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
