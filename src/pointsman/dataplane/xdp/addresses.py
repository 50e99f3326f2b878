"""IPv4 addresses, ports and keys as the packet path has them: in network byte order, read as numbers."""

from __future__ import annotations

import ipaddress
import socket

from pointsman.dataplane.xdp.layout import FRONT_HASH, NO_PREFIX
from pointsman.model.service import ServiceKey, Transport

_ONES = (1 << 64) - 1


def address_number(address: ipaddress.IPv4Address) -> int:
    return int.from_bytes(address.packed, "little")


def address_of(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(number.to_bytes(4, "little"))


def mask_number(prefix: int | None) -> int:
    """The mask of a prefix length; None: every bit."""
    length = 32 if prefix is None else prefix
    return int.from_bytes((0xFFFFFFFF << (32 - length) & 0xFFFFFFFF).to_bytes(4, "big"), "little")


def prefix_of(stored: int) -> int | None:
    return None if stored == NO_PREFIX else stored


def front_key(address: int, port: int, protocol: int) -> int:
    """struct front.key; the port in host order."""
    return address | socket.htons(port) << 32 | protocol << 48 | 1 << 56


def service_key_of(key: int) -> ServiceKey:
    """The service key a front stands for."""
    return ServiceKey.of(
        Transport(key >> 48 & 0xFF), address_of(key & 0xFFFFFFFF), socket.ntohs(key >> 32 & 0xFFFF)
    )


def front_hash(key: int) -> int:
    return (key * FRONT_HASH & _ONES) >> 32
