# SPDX-License-Identifier: Apache-2.0
"""Addresses, ports and keys as in the packet path: network byte order, read as little-endian numbers."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from pointsman.dataplane.xdp.kernel.layout import FRONT_HASH, NO_PREFIX
from pointsman.model.address import Address
from pointsman.model.service import ServiceKey, Transport

_ONES = (1 << 64) - 1


def halves(address: Address) -> tuple[int, int]:
    """Return the two 8-byte words of an address. IPv4: the lower half of the first."""
    packed = address.packed.ljust(16, b"\0")
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


def address_of(first: int, rest: int, ipv6: bool) -> Address:
    """Return the address in two words."""
    if not ipv6:
        return ipaddress.IPv4Address((first & 0xFFFFFFFF).to_bytes(4, "little"))
    return ipaddress.IPv6Address(first.to_bytes(8, "little") + rest.to_bytes(8, "little"))


def fold(address: Address) -> int:
    """Return an address as the 32-bit number that sh, dh and mh hash. IPv6: the XOR of its four words."""
    number = int(address)
    return (number ^ number >> 32 ^ number >> 64 ^ number >> 96) & 0xFFFFFFFF


def mask_bits(prefix: int | None, ipv6: bool) -> int:
    """Return the number of leading bits of a client's address that count; without a prefix, all."""
    longest = 128 if ipv6 else 32
    return longest if prefix is None else min(prefix, longest)


def prefix_of(stored: int) -> int | None:
    return None if stored == NO_PREFIX else stored


def front_key(key: ServiceKey) -> int:
    """Return front.key of an IPv4 service."""
    assert key.address is not None and key.transport is not None
    return halves(key.address)[0] | socket.htons(key.port) << 32 | key.transport << 48 | 1 << 56


def front6_key(key: ServiceKey) -> int:
    """Return front6.key of an IPv6 service."""
    assert key.transport is not None
    return socket.htons(key.port) | key.transport << 16 | 1 << 24


def service_key_of(key: int) -> ServiceKey:
    """Return the IPv4 service of a front."""
    return ServiceKey.of(
        Transport(key >> 48 & 0xFF),
        address_of(key & 0xFFFFFFFF, 0, ipv6=False),
        socket.ntohs(key >> 32 & 0xFFFF),
    )


def service6_key_of(first: int, rest: int, key: int) -> ServiceKey:
    """Return the IPv6 service of a front."""
    return ServiceKey.of(
        Transport(key >> 16 & 0xFF), address_of(first, rest, ipv6=True), socket.ntohs(key & 0xFFFF)
    )


def front_hash(key: int) -> int:
    return (key * FRONT_HASH & _ONES) >> 32


def front6_hash(address: Sequence[int], key: int) -> int:
    mixed = address[0] * FRONT_HASH + address[1] + key
    return (mixed * FRONT_HASH & _ONES) >> 32
