# SPDX-License-Identifier: Apache-2.0
"""IP headers: version 4 (RFC 791 section 3.1) and version 6 (RFC 8200 section 3)."""

from __future__ import annotations

import struct

import msgspec

from pointsman.packets.checksum import internet_checksum
from pointsman.packets.errors import WireError
from pointsman.packets.ethernet import ETH_P_IP, ETH_P_IPV6

ICMP, IPIP, TCP, UDP, IN_IPV6, GRE, AH, ICMPV6 = 1, 4, 6, 17, 41, 47, 51, 58
"""Protocol numbers (IANA)."""

IPV4_SIZE, IPV6_SIZE = 20, 40
"""Bytes of a header without options, without extension headers."""
IPV4_FRAGMENT_AT = 6
"""Offset of flags and fragment offset."""

DONT_FRAGMENT, MORE_FRAGMENTS, FRAGMENT_OFFSET = 0x4000, 0x2000, 0x1FFF
"""Bits of IpHeader.fragment."""
IS_FRAGMENT = MORE_FRAGMENTS | FRAGMENT_OFFSET

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_ADDRESS_SIZE_4 = 4
_VERSION_4 = 0x45
"""Version 4 and five words of header."""


class IpHeader(msgspec.Struct, frozen=True, gc=False):
    """An IP header of either version, as far as upper layers need it."""

    source: bytes
    destination: bytes
    protocol: int
    """Version 6: the next header; extension headers are not looked into."""
    ttl: int
    """Version 6: the hop limit."""
    size: int
    """Bytes of the header itself, with the options of version 4."""
    length: int
    """Bytes that follow the header, as the header says. The data may be shorter or longer.

    Below 0 in version 4 where the header tells none: the kernel's own packets of more than 65535 bytes.
    """
    fragment: int = 0
    """Version 4 only: flags and offset in units of 8 bytes."""


def encode_ipv4(
    source: bytes,
    destination: bytes,
    protocol: int,
    length: int,
    *,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0,
    fragment: int = DONT_FRAGMENT,
) -> bytes:
    """Return a header without options for so many bytes. Raises struct.error: a field does not fit."""
    total = IPV4_SIZE + length
    head = _IPV4.pack(_VERSION_4, tos, total, identification, fragment, ttl, protocol, 0, source, destination)
    return head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:]


def encode_ipv6(source: bytes, destination: bytes, protocol: int, length: int, *, ttl: int = 64) -> bytes:
    """Return a header for so many bytes. `ttl`: the hop limit. Raises struct.error: a field does not fit."""
    return _IPV6.pack(6 << 28, length, protocol, ttl, source, destination)


def encode(source: bytes, destination: bytes, protocol: int, length: int, *, ttl: int = 64) -> bytes:
    """Return a header of the version that the addresses have. Raises struct.error: a field does not fit."""
    version = encode_ipv4 if len(source) == _ADDRESS_SIZE_4 else encode_ipv6
    return version(source, destination, protocol, length, ttl=ttl)


def ether_type(address: bytes) -> int:
    """Return the EtherType of the version that an address has."""
    return ETH_P_IP if len(address) == _ADDRESS_SIZE_4 else ETH_P_IPV6


def protocol_at(kind: int) -> int:
    """Return the offset of the protocol in a header of this EtherType, for a program of classic BPF."""
    return 9 if kind == ETH_P_IP else 6


def source_at(kind: int) -> int:
    """Return the offset of the source address."""
    return 12 if kind == ETH_P_IP else 8


def destination_at(kind: int) -> int:
    """Return the offset of the destination address."""
    return 16 if kind == ETH_P_IP else 24


def decode_ipv4(data: bytes, at: int = 0) -> IpHeader:
    """Return the header that begins at an offset; its checksum is not looked at. Raises WireError.

    The packet's end may be missing, as in a captured frame.
    """
    if len(data) < at + IPV4_SIZE:
        raise WireError(f"{max(len(data) - at, 0)} bytes are too few for an IPv4 header")
    first, _, total, _, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(data, at)
    size = (first & 0xF) * 4
    if first >> 4 != 4 or size < IPV4_SIZE:
        raise WireError(f"not an IPv4 header: first byte {first:#04x}")
    return IpHeader(source, destination, protocol, ttl, size, total - size, fragment)


def decode_ipv6(data: bytes, at: int = 0) -> IpHeader:
    """Return the header that begins at an offset. Raises WireError.

    The packet's end may be missing, as in a captured frame.
    """
    if len(data) < at + IPV6_SIZE:
        raise WireError(f"{max(len(data) - at, 0)} bytes are too few for an IPv6 header")
    first, length, protocol, hop_limit, source, destination = _IPV6.unpack_from(data, at)
    if first >> 28 != 6:
        raise WireError(f"not an IPv6 header: first byte {first >> 24:#04x}")
    return IpHeader(source, destination, protocol, hop_limit, IPV6_SIZE, length)


def decode(kind: int, data: bytes, at: int = 0) -> IpHeader:
    """Return the header behind this EtherType. Raises WireError, also for another EtherType."""
    if kind == ETH_P_IP:
        return decode_ipv4(data, at)
    if kind == ETH_P_IPV6:
        return decode_ipv6(data, at)
    raise WireError(f"EtherType {kind:#06x} is not IP")


def payload(header: IpHeader, data: bytes, at: int = 0) -> bytes:
    """Return what follows a header that began at an offset; padding is cut off. Raises WireError."""
    start = at + header.size
    if not 0 <= header.length <= len(data) - start:
        total = header.size + header.length
        raise WireError(f"IP length {total} in a packet of {max(len(data) - at, 0)} bytes")
    return data[start : start + header.length]
