# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel for the XDP features of an interface (netlink family `netdev`, Linux 6.3)."""

from __future__ import annotations

import errno
import os
import socket
import struct

_NETLINK_GENERIC = 16
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_DEVICE_GET, _DEVICE_INDEX, _DEVICE_XDP_FEATURES = 1, 1, 3
_NLM_F_REQUEST, _NLMSG_ERROR = 1, 2
_HEADERS = struct.Struct("=IHHIIBBH")
"""struct nlmsghdr and struct genlmsghdr."""
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE = 1 << 16
_SECONDS = 1.0
"""The kernel answers at once."""
NDO_XMIT = 1 << 2
"""NETDEV_XDP_ACT_NDO_XMIT: it sends packets that a program on another interface redirects to it."""


def xdp_features(index: int) -> int | None:
    """Return the features of an interface (enum netdev_xdp_act); None: this kernel does not tell.

    Some drivers, such as virtio_net and veth, can send redirected packets only while they have a program
    themselves. The features follow that. Raises OSError if there is no such interface.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC) as netlink:
        netlink.settimeout(_SECONDS)
        netlink.bind((0, 0))
        try:
            family = _ask(netlink, _CONTROL, _GET_FAMILY, _FAMILY_NAME, b"netdev\0")[_FAMILY_ID]
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        number = int.from_bytes(family, "little")
        found = _ask(netlink, number, _DEVICE_GET, _DEVICE_INDEX, struct.pack("=I", index))
        return struct.unpack("=Q", found[_DEVICE_XDP_FEATURES])[0] if _DEVICE_XDP_FEATURES in found else None


def _ask(netlink: socket.socket, family: int, command: int, kind: int, value: bytes) -> dict[int, bytes]:
    """Send a request with one attribute. Return the attributes of the answer. Raises the kernel's OSError."""
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
    size = _HEADERS.size + len(attribute)
    netlink.send(_HEADERS.pack(size, family, _NLM_F_REQUEST, 1, 0, command, 1, 0) + attribute)
    answer = netlink.recv(_RECEIVE)
    length, kind, *_ = _HEADERS.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, 16)[0]
        raise OSError(code, os.strerror(code))
    return dict(_attributes(answer[_HEADERS.size : length]))


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found.append((kind, data[_ATTRIBUTE.size : length]))
        data = data[(length + 3) & ~3 :]
    return found
