# SPDX-License-Identifier: Apache-2.0
"""Set up offloads of a lab's veth pairs for native XDP. Generic XDP and tc do not need this."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct

from pointsman.lab import namespace
from pointsman.net.links import INFO, RTM_NEWLINK
from pointsman.net.netlink import NetlinkSocket, Request, attribute

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_IFLA_XDP, _IFLA_XDP_FD = 43, 1
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_XDP = 6
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_XDP_PASS = struct.pack("<BBhi", 0xB7, 0, 0, 2) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""`r0 = XDP_PASS; exit`."""


def complete_checksums(name: str, interface: str) -> None:
    """Make the sender compute TCP checksums itself.

    Native XDP forwards frames, and a frame cannot tell that the hardware is to add the checksum. Raises
    OSError.
    """
    value = array.array("B", struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
    with namespace.entered(name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def accept_frames(name: str, interface: str) -> None:
    """Attach an XDP program that passes everything to one end of a veth pair.

    Without it, XDP_TX and redirect at the other end lose their frames silently. The program ends with the
    interface. Raises OSError.
    """
    program = _load_pass()
    try:
        with namespace.entered(name), NetlinkSocket() as netlink:
            head = INFO.pack(0, 0, socket.if_nametoindex(interface), 0, 0)
            attached = attribute(_IFLA_XDP, attribute(_IFLA_XDP_FD, struct.pack("=i", program)))
            (error,) = netlink.batch([Request(RTM_NEWLINK, 0, head + attached)])
        if error is not None:
            raise error
    finally:
        os.close(program)


def _load_pass() -> int:
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        raise OSError(f"the lab does not support native XDP on {os.uname().machine}; use --xdp-mode generic")
    code = ctypes.create_string_buffer(_XDP_PASS, len(_XDP_PASS))
    license_name = ctypes.create_string_buffer(b"Dual BSD/GPL")
    instructions = len(_XDP_PASS) // 8
    attributes = struct.pack(
        "=IIQQ", _BPF_PROG_TYPE_XDP, instructions, ctypes.addressof(code), ctypes.addressof(license_name)
    ).ljust(128, b"\0")
    descriptor: int = ctypes.CDLL(None, use_errno=True).syscall(
        number, _BPF_PROG_LOAD, attributes, len(attributes)
    )
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"loading XDP_PASS: {os.strerror(ctypes.get_errno())}")
    return descriptor
