"""Many packets by one system call (recvmmsg), each with the time at which the kernel received it.

Hundreds of virtual routers hear hundreds of adverts a second, which come close one upon the other; one call
each, with an object for everything that the kernel tells, costs more than all the rest of their reception.
"""

from __future__ import annotations

import ctypes
import struct
import time
from typing import Final

LARGEST: Final = 2048
"""Bytes of a packet that are read; the longest advert over IPv4 (255 addresses, authentication) has 1,148."""
MOST: Final = 64
"""Packets of one call."""

_MSG_DONTWAIT = 0x40
_HEADER = struct.Struct("@PI4xPQPQi4xI4x")
"""struct mmsghdr: name, its size, iovec, their number, control, its size, flags; bytes that were received."""
_SIZES = struct.Struct("@40xQ8xI4x")
"""Of that, what is read: how much the kernel has told besides, and bytes that were received."""
_VECTOR = struct.Struct("@PQ")
_STAMP = struct.Struct("@16xqq")
"""What SO_TIMESTAMPNS tells: a struct timespec behind a struct cmsghdr."""

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_recvmmsg.restype = ctypes.c_int


class PacketBatch:
    """Memory for MOST packets, used again for every call."""

    def __init__(self) -> None:
        self._packets = bytearray(LARGEST * MOST)
        self._controls = bytearray(_STAMP.size * MOST)
        self._vectors = bytearray(_VECTOR.size * MOST)
        self._headers = bytearray(_HEADER.size * MOST)
        packets, controls, vectors = map(_address, (self._packets, self._controls, self._vectors))
        for number in range(MOST):
            _VECTOR.pack_into(self._vectors, number * _VECTOR.size, packets + number * LARGEST, LARGEST)
            _HEADER.pack_into(
                *(self._headers, number * _HEADER.size, 0, 0, vectors + number * _VECTOR.size, 1),
                *(controls + number * _STAMP.size, _STAMP.size, 0, 0),
            )
        self._blank = bytes(self._headers)
        self._place = ctypes.c_void_p(_address(self._headers))
        self._view = memoryview(self._packets)

    def receive(self, descriptor: int) -> list[tuple[bytes, float]]:
        """What is waiting at a non-blocking socket, at most MOST: packets and their CLOCK_REALTIME.

        A packet without a time, or with one of the future, has come now. An error of the socket is no
        packet. SO_TIMESTAMPNS has to be the only thing that the socket tells besides.
        """
        self._headers[:] = self._blank  # the kernel writes sizes into it
        count = _recvmmsg(descriptor, self._place, MOST, _MSG_DONTWAIT, None)
        if count <= 0:
            return []
        now = time.time()
        found: list[tuple[bytes, float]] = []
        start = 0
        headers = memoryview(self._headers)[: count * _HEADER.size]
        stamps = memoryview(self._controls)[: count * _STAMP.size]
        for (told, size), (seconds, nanoseconds) in zip(
            _SIZES.iter_unpack(headers), _STAMP.iter_unpack(stamps), strict=True
        ):
            at = seconds + nanoseconds / 1e9
            if at > now or told < _STAMP.size:
                at = now
            found.append((self._view[start : start + size].tobytes(), at))
            start += LARGEST
        return found


def _address(memory: bytearray) -> int:
    """Where it is; it stays there, as it is never resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
