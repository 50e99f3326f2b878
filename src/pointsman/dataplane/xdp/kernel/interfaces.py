# SPDX-License-Identifier: Apache-2.0
"""Facts about an interface of this network namespace (netdevice(7), linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from pathlib import Path

_SIOCGIFHWADDR = 0x8927
_SIOCETHTOOL = 0x8946
_SIOCBONDSLAVEINFOQUERY = 0x8993
_SIOCBONDINFOQUERY = 0x8994
_ETHTOOL_GDRVINFO, _ETHTOOL_GRXCSUM, _ETHTOOL_GFLAGS, _ETHTOOL_GGRO = 0x03, 0x14, 0x25, 0x2B
_ETH_FLAG_RXVLAN, _ETH_FLAG_LRO = 1 << 8, 1 << 15
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_VLANS = Path("/proc/thread-self/net/vlan/config")


def index_of(name: str) -> int:
    """Return the index of an interface. Raises OSError (ENODEV) when there is none of this name."""
    return socket.if_nametoindex(name)


def _request(number: int, payload: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, number, payload)


def hardware_address(name: str) -> bytes:
    """Return the interface's MAC address, 6 bytes."""
    return _request(_SIOCGIFHWADDR, struct.pack("16s24x", os.fsencode(name)))[18:24]


def has_ethernet_frames(name: str) -> bool:
    """True if packets of the interface have an Ethernet header; those of tun, WireGuard and PPP have none."""
    kind = struct.unpack_from("H", _request(_SIOCGIFHWADDR, struct.pack("16s24x", os.fsencode(name))), 16)[0]
    return kind in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)


def _answer(number: int, name: str, question: bytes) -> bytes:
    """Return the buffer that the kernel has written its answer to. Raises OSError."""
    buffer = array.array("B", question)
    address, _length = buffer.buffer_info()
    _request(number, struct.pack("16sP16x", os.fsencode(name), address))
    return buffer.tobytes()


def driver(name: str) -> str:
    """Return the driver's name as in `ethtool -i`; empty when there is none."""
    try:
        answer = _answer(_SIOCETHTOOL, name, struct.pack("I", _ETHTOOL_GDRVINFO) + bytes(192))
    except OSError:
        return ""
    return _text(answer[4:36])


def slaves(name: str) -> list[str]:
    """Return the slaves of a bond; of anything else none (linux/if_bonding.h)."""
    try:
        _mode, count, _interval = struct.unpack("3i", _answer(_SIOCBONDINFOQUERY, name, bytes(12)))
        questions = (struct.pack("i24x", number) for number in range(count))
        return [_text(_answer(_SIOCBONDSLAVEINFOQUERY, name, each)[4:20]) for each in questions]
    except OSError:
        return []


def vlans(name: str) -> list[str]:
    """Return the VLAN interfaces on top of this one."""
    return [vlan for vlan, below in _vlan_pairs() if below == name]


def receivers(name: str) -> list[str]:
    """Return the interfaces that receive the frames of this one: those below a VLAN or bond, or itself."""
    below = [lower for vlan, lower in _vlan_pairs() if vlan == name] or slaves(name)
    return [lowest for each in below for lowest in receivers(each)] or [name]


def _vlan_pairs() -> list[tuple[str, str]]:
    """Return the VLAN interfaces, each with the interface below it."""
    try:
        rows = [line.split("|") for line in _VLANS.read_text().splitlines()]
    except OSError:  # the kernel has no VLANs
        return []
    return [(row[0].strip(), row[2].strip()) for row in rows if len(row) == 3]


def strips_tags(name: str) -> bool:
    """True if VLAN tags are removed from frames before XDP sees them (`ethtool -k`: rx-vlan-offload)."""
    return bool(_ethtool_number(name, _ETHTOOL_GFLAGS) & _ETH_FLAG_RXVLAN)


def merges_received(name: str) -> bool:
    """True if the network card merges received packets (large-receive-offload)."""
    return bool(_ethtool_number(name, _ETHTOOL_GFLAGS) & _ETH_FLAG_LRO)


def joins_received(name: str) -> bool:
    """True if the kernel joins received segments of a stream (generic-receive-offload)."""
    return bool(_ethtool_number(name, _ETHTOOL_GGRO))


def checks_received(name: str) -> bool:
    """True if the network card verifies the checksums of received packets (rx-checksumming)."""
    return bool(_ethtool_number(name, _ETHTOOL_GRXCSUM))


def _ethtool_number(name: str, command: int) -> int:
    """Return the number in struct ethtool_value; 0 if the driver does not support the command."""
    try:
        answer = _answer(_SIOCETHTOOL, name, struct.pack("2I", command, 0))
    except OSError:
        return 0
    return int(struct.unpack("2I", answer)[1])


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode(errors="replace")
