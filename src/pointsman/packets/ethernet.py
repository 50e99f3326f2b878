# SPDX-License-Identifier: Apache-2.0
"""Ethernet II frames (IEEE 802.3 clause 3.2.6), without VLAN tags."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pointsman.packets.errors import WireError

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
"""EtherTypes, named as in linux/if_ether.h."""
BROADCAST = b"\xff" * 6
HEADER_SIZE = 14
TYPE_AT = 12
"""Offset of the EtherType."""

_HEADER = struct.Struct("!6s6sH")


class Ethernet(NamedTuple):
    """The header of a frame."""

    destination: bytes
    source: bytes
    ether_type: int


def multicast_mac(group: bytes) -> bytes:
    """Return the MAC address of a multicast group (RFC 1112 section 6.4, RFC 2464 section 7)."""
    if len(group) == 4:
        return b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:]
    return b"\x33\x33" + group[-4:]


def encode(destination: bytes, source: bytes, ether_type: int) -> bytes:
    """Return a header; the packet follows it."""
    return _HEADER.pack(destination, source, ether_type)


def decode(frame: bytes) -> Ethernet:
    """Return the header of a frame. Raises WireError."""
    if len(frame) < HEADER_SIZE:
        raise WireError(f"{len(frame)} bytes are too few for an Ethernet header")
    return Ethernet._make(_HEADER.unpack_from(frame))
