# SPDX-License-Identifier: Apache-2.0
"""Encode and decode VRRP adverts: version 2 (RFC 3768, and PASS of RFC 2338) and version 3 (RFC 5798)."""

from __future__ import annotations

import enum
import ipaddress
import struct

import msgspec

from pointsman.model.address import Address
from pointsman.packets import ip
from pointsman.packets.checksum import internet_checksum, pseudo_header
from pointsman.packets.errors import WireError

PROTOCOL = 112
"""IP protocol number."""
GROUP = ipaddress.IPv4Address("224.0.0.18")
GROUP6 = ipaddress.IPv6Address("ff02::12")
TTL = 255
"""TTL or hop limit of adverts. A multicast one with less was forwarded by a router, so it is forged."""

NO_AUTHENTICATION, PASS, AH = 0, 1, 2
"""Authentication types of version 2."""
PASSWORD_SIZE = 8
MAX_ADDRESSES = 255

CHECKSUM_AT = 6
"""Offset of the checksum, which has 2 bytes."""

_ADVERTISEMENT = 1
_HEADER = struct.Struct("!BBBBHH")


class ChecksumForm(enum.Enum):
    """Data that a version 3 checksum over IPv4 covers besides the advert. Routers do not agree."""

    PSEUDO_HEADER = "with pseudo header"
    """RFC 5798 section 5.2.8, keepalived."""
    BARE = "without pseudo header"
    """RFC 9568 section 5.2.8, several makes of routers, keepalived's v3_checksum_as_v2."""
    GROUP = "with a pseudo header of the multicast group"
    """keepalived before 1.3.7, to unicast peers."""


class Advert(msgspec.Struct, frozen=True, kw_only=True):
    """A VRRP advertisement."""

    version: int
    virtual_router_id: int
    priority: int
    """0: the sender stops being master."""
    interval: int
    """Centiseconds; whole seconds in version 2."""
    addresses: tuple[Address, ...] = ()
    authentication_type: int = NO_AUTHENTICATION
    """Version 2 only."""
    password: bytes = bytes(PASSWORD_SIZE)
    """Version 2 only: authentication data, always 8 bytes."""
    form: ChecksumForm = ChecksumForm.PSEUDO_HEADER
    """Version 3 over IPv4 only."""


class Datagram(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of an IP packet of protocol 112 that VRRP uses."""

    source: Address
    destination: Address
    ttl: int
    payload: bytes
    header: bytes = b""
    """IPv4 header, which an authentication header covers."""


def password_bytes(password: str) -> bytes:
    """Return a password as sent: its first 8 bytes, padded with zeros (RFC 2338 section 5.3.6.2)."""
    return password.encode()[:PASSWORD_SIZE].ljust(PASSWORD_SIZE, b"\0")


def encode(advert: Advert, source: Address, destination: Address) -> bytes:
    """Return the IP payload. The addresses are part of the version 3 checksum (RFC 5798 section 5.2.8).

    Raises ValueError for a field that does not fit.
    """
    _check_ranges(advert)
    body = b"".join(address.packed for address in advert.addresses)
    if advert.version == 2:
        timing = advert.authentication_type << 8 | advert.interval // 100
        body += advert.password
        pseudo = b""
    else:
        timing = advert.interval
        pseudo = _form_header(advert.form, source, destination, _HEADER.size + len(body))
    head = (
        advert.version << 4 | _ADVERTISEMENT,
        advert.virtual_router_id,
        advert.priority,
        len(advert.addresses),
        timing,
    )
    checksum = internet_checksum(pseudo + _HEADER.pack(*head, 0) + body)
    return _HEADER.pack(*head, checksum) + body


def with_ipv6_checksum(data: bytes, source: Address, destination: Address) -> bytes:
    """Return the data with a checksum over all of it, as the kernel computes it over IPv6."""
    blank = data[:CHECKSUM_AT] + b"\0\0" + data[CHECKSUM_AT + 2 :]
    checksum = internet_checksum(_pseudo_header(source, destination, len(data)) + blank)
    return data[:CHECKSUM_AT] + checksum.to_bytes(2, "big") + data[CHECKSUM_AT + 2 :]


def advert_size(data: bytes, address_size: int) -> int:
    """Return the length of the advert at the start of the data by its own header. Raises WireError.

    `address_size`: bytes of an address, 4 or 16.
    """
    if len(data) < _HEADER.size:
        raise WireError(f"{len(data)} bytes are too few for a VRRP header")
    trailer = PASSWORD_SIZE if data[0] >> 4 == 2 else 0
    return _HEADER.size + address_size * data[3] + trailer


def decode(data: bytes, source: Address, destination: Address, extra: int = 0) -> Advert:
    """Decode the advert in an IP payload from `source` to `destination`. Raises WireError.

    `extra` bytes follow the advert. Over IPv6 its checksum includes them.
    """
    if len(data) < extra:
        raise WireError(f"{len(data)} bytes are too few for an advert with {extra} bytes after it")
    whole, data = data, data[: len(data) - extra]
    if len(data) < _HEADER.size:
        raise WireError(f"{len(data)} bytes are too few for a VRRP header")
    kind, router, priority, count, timing, _ = _HEADER.unpack_from(data)
    version = kind >> 4
    if version not in (2, 3):
        raise WireError(f"version {version} is unknown")
    if kind & 0xF != _ADVERTISEMENT:
        raise WireError(f"type {kind & 0xF} is not an advertisement")
    if router == 0:
        raise WireError("virtual router id 0")
    size = len(source.packed)
    end = _HEADER.size + size * count
    trailer = PASSWORD_SIZE if version == 2 else 0
    if len(data) != end + trailer:
        raise WireError(f"{len(data)} bytes, but {count} addresses make {end + trailer}")
    form = _checksum_form(version, data if source.version == 4 else whole, source, destination)
    if form is None:
        raise WireError("wrong checksum")
    return Advert(
        version=version,
        virtual_router_id=router,
        priority=priority,
        interval=(timing & 0xFF) * 100 if version == 2 else timing & 0xFFF,
        addresses=tuple(ipaddress.ip_address(data[at : at + size]) for at in range(_HEADER.size, end, size)),
        authentication_type=timing >> 8 if version == 2 else NO_AUTHENTICATION,
        password=data[end:] if version == 2 else bytes(PASSWORD_SIZE),
        form=form,
    )


def decode_ipv4(packet: bytes, expected: int = PROTOCOL) -> Datagram:
    """Return what is in an IPv4 packet as a raw socket delivers it; padding is cut off. Raises WireError."""
    header = ip.decode_ipv4(packet)
    if header.protocol != expected:
        raise WireError(f"IP protocol {header.protocol} is not VRRP")
    if header.fragment & ip.IS_FRAGMENT:
        raise WireError("an IP fragment")
    return Datagram(
        source=ipaddress.IPv4Address(header.source),
        destination=ipaddress.IPv4Address(header.destination),
        ttl=header.ttl,
        payload=ip.payload(header, packet),
        header=packet[: header.size],
    )


def _check_ranges(advert: Advert) -> None:
    longest = 25500 if advert.version == 2 else 0xFFF
    if advert.version not in (2, 3):
        raise ValueError(f"version {advert.version} is neither 2 nor 3")
    if not 1 <= advert.virtual_router_id <= 255 or not 0 <= advert.priority <= 255:
        raise ValueError("virtual router id or priority does not fit into a byte")
    if not 0 <= advert.interval <= longest or (advert.version == 2 and advert.interval % 100):
        raise ValueError(
            f"an interval of {advert.interval} centiseconds does not fit version {advert.version}"
        )
    if len(advert.addresses) > MAX_ADDRESSES:
        raise ValueError(f"{len(advert.addresses)} addresses, but an advert carries at most {MAX_ADDRESSES}")
    if not 0 <= advert.authentication_type <= 255 or len(advert.password) != PASSWORD_SIZE:
        raise ValueError("authentication data of version 2 is a type of one byte and 8 bytes")


def _pseudo_header(source: Address, destination: Address, length: int) -> bytes:
    return pseudo_header(source.packed, destination.packed, PROTOCOL, length)


def _form_header(form: ChecksumForm, source: Address, destination: Address, length: int) -> bytes:
    if source.version == 6 or form is ChecksumForm.PSEUDO_HEADER:
        return _pseudo_header(source, destination, length)
    return b"" if form is ChecksumForm.BARE else _pseudo_header(source, GROUP, length)


def _checksum_form(version: int, data: bytes, source: Address, destination: Address) -> ChecksumForm | None:
    """Return the form in which the checksum is right. None: it is wrong in all forms."""
    if version == 2:
        return ChecksumForm.PSEUDO_HEADER if internet_checksum(data) == 0 else None
    forms = ChecksumForm if source.version == 4 else (ChecksumForm.PSEUDO_HEADER,)
    for form in forms:
        if internet_checksum(_form_header(form, source, destination, len(data)) + data) == 0:
            return form
    return None
