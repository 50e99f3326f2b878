"""What the kernel tells about an interface of this network namespace (netdevice(7), linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct

_SIOCGIFHWADDR = 0x8927
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3


def index_of(name: str) -> int:
    """Raises OSError (ENODEV) when there is no such interface."""
    return socket.if_nametoindex(name)


def _request(number: int, payload: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, number, payload)


def hardware_address(name: str) -> bytes:
    """The interface's MAC address, 6 bytes."""
    return _request(_SIOCGIFHWADDR, struct.pack("16s24x", os.fsencode(name)))[18:24]


def driver(name: str) -> str:
    """The driver's name as `ethtool -i` shows it; empty when it tells none."""
    answer = array.array("B", struct.pack("I", _ETHTOOL_GDRVINFO) + bytes(192))
    address, _length = answer.buffer_info()
    try:
        _request(_SIOCETHTOOL, struct.pack("16sP16x", os.fsencode(name), address))
    except OSError:
        return ""
    return answer.tobytes()[4:36].split(b"\0")[0].decode(errors="replace")
