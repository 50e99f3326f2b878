# SPDX-License-Identifier: Apache-2.0
"""The Internet checksum (RFC 1071), which IPv4, ICMP, TCP and VRRP share."""

from __future__ import annotations

import struct

_ALL_ONES = 0xFFFF
_PSEUDO_6 = struct.Struct("!I3xB")


def internet_checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071; 0 over data that bears its own correct checksum.

    A sum with end-around carry is arithmetic modulo 65535, in which 0 and 65535 are one number. The sum is 0
    only if all bytes are.
    """
    number = int.from_bytes(data, "big")
    if len(data) % 2:
        number <<= 8
    total = number % _ALL_ONES or (_ALL_ONES if number else 0)
    return total ^ _ALL_ONES


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Return what an upper layer's checksum covers of the IP header.

    It is written as for IPv6 (RFC 8200 section 8.1). The sum is right for IPv4 as well, because the same
    numbers are in it (RFC 9293 section 3.1).
    """
    return source + destination + _PSEUDO_6.pack(length, protocol)
