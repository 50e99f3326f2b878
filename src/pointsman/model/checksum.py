"""The Internet checksum, which VRRP, ICMP and TCP share."""

from __future__ import annotations

import struct


def internet_checksum(data: bytes) -> int:
    """The checksum of RFC 1071; 0 over data that bears its own correct checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
