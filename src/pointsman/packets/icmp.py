# SPDX-License-Identifier: Apache-2.0
"""ICMP echo: version 4 (RFC 792) and version 6 (RFC 4443 section 4)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pointsman.packets.checksum import internet_checksum
from pointsman.packets.errors import WireError

ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST_6, ECHO_REPLY_6 = 128, 129
"""Types of ICMPv6."""
HEADER_SIZE = 8

_ECHO = struct.Struct("!BBHHH")


class Echo(NamedTuple):
    """An echo request or reply."""

    type: int
    identifier: int
    sequence: int
    data: bytes


def encode_request(version: int, identifier: int, sequence: int, data: bytes) -> bytes:
    """Return an echo request.

    The checksum of ICMPv6 is left 0: the kernel fills it in (RFC 3542 section 3.1).
    """
    kind = ECHO_REQUEST if version == 4 else ECHO_REQUEST_6
    bare = _ECHO.pack(kind, 0, 0, identifier, sequence) + data
    if version == 6:
        return bare
    return bare[:2] + internet_checksum(bare).to_bytes(2, "big") + bare[4:]


def decode_reply(version: int, packet: bytes) -> Echo:
    """Return the echo reply in an ICMP packet; its checksum is not looked at. Raises WireError."""
    if len(packet) < HEADER_SIZE:
        raise WireError(f"{len(packet)} bytes are too few for an ICMP echo")
    kind, _, _, identifier, sequence = _ECHO.unpack_from(packet)
    if kind != (ECHO_REPLY if version == 4 else ECHO_REPLY_6):
        raise WireError(f"ICMP type {kind} is no echo reply")
    return Echo(kind, identifier, sequence, packet[HEADER_SIZE:])
