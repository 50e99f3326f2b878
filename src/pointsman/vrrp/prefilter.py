# SPDX-License-Identifier: Apache-2.0
"""Reject most invalid packets by a few bytes, cheaply enough for a flood.

A host on the segment can send 50,000 packets a second. Here each costs a few microseconds instead of tens.
Packets of unknown senders that pass are decoded at a limited rate.
"""

from __future__ import annotations

import hmac

from pointsman.model.vrrp import PassAuthentication, VrrpInstance
from pointsman.vrrp.admission import Drop, authentication_type, interval_in_centiseconds
from pointsman.vrrp.ah import AH_PROTOCOL
from pointsman.vrrp.ah import HEADER_SIZE as AH_HEADER_SIZE
from pointsman.vrrp.hmac_auth import TRAILER_SIZE
from pointsman.vrrp.wire import GROUP, PROTOCOL, TTL, password_bytes

STRANGERS_A_SECOND = 5000
"""Packets per second that are decoded from senders without an accepted advert.

Twice the rate of all routers of a full segment (255 of them at 100 ms).
"""

REFUSED_A_SECOND = 2000
"""Packets per second that are decoded and refused from a sender with an accepted advert.

Adverts in plain form (no IP options) need no decoding to be refused, so that they do not use it up. It is for
the other ones: beyond this rate, they are dropped unread.
"""

_HEADER, _ADVERT = 20, 8
_PASSWORD = 8
_ALL_ONES = 0xFFFF
_ANY_TTL = (0, 255)
_FIRST_BYTES = (0x21, 0x31)
"""Version 2 or 3, and the only type."""


def parse_router_id(packet: bytes) -> int | None:
    """Return the virtual router id of an IPv4 packet of VRRP without IP options. None: it must be decoded."""
    if not is_plain(packet) or len(packet) < _HEADER + _ADVERT:
        return None
    if packet[9] == PROTOCOL:
        return packet[_HEADER + 1]
    is_ah = packet[9] == AH_PROTOCOL and len(packet) >= _HEADER + AH_HEADER_SIZE + _ADVERT
    return packet[_HEADER + AH_HEADER_SIZE + 1] if is_ah else None


def is_plain(packet: bytes) -> bool:
    """True if an IPv4 packet has no IP options. Routers send no others."""
    return packet[:1] == b"\x45"


def fingerprint(packet: bytes) -> bytes:
    """Return an IPv4 packet without the fields that differ in each one: identification and header
    checksum."""
    return packet[:4] + packet[6:10] + packet[12:]


def cheap_reject(packet: bytes, may_be_signed: bool = False) -> Drop | None:
    """Return the reason to drop such a packet. None: it passes the quick checks.

    `may_be_signed`: the trailer of auth_hmac can follow the advert.
    """
    if packet[9] == AH_PROTOCOL:
        return None
    length = packet[2] << 8 | packet[3]
    version, count = packet[_HEADER], packet[_HEADER + 3]
    end = _HEADER + _ADVERT + 4 * count + (_PASSWORD if version == 0x21 else 0)
    is_whole = length == end or (may_be_signed and length == end + TRAILER_SIZE)
    if version not in _FIRST_BYTES or not is_whole or length > len(packet):
        return Drop.MALFORMED
    if not _has_checksum(packet[:end]):
        return Drop.MALFORMED
    if packet[8] != TTL and packet[16] & 0xF0 == 0xE0:
        return Drop.TTL
    return None


def _has_checksum(packet: bytes) -> bool:
    """True if the checksum (RFC 1071) is right in any form in use. The arithmetic is modulo 65535."""
    advert = int.from_bytes(packet[_HEADER:], "big")
    if packet[_HEADER] == 0x21:
        return advert % _ALL_ONES == 0
    source = int.from_bytes(packet[12:16], "big")
    rest = advert + source + PROTOCOL + len(packet) - _HEADER
    destination = int.from_bytes(packet[16:20], "big")
    return 0 in (advert % _ALL_ONES, (rest + destination) % _ALL_ONES, (rest + int(GROUP)) % _ALL_ONES)


class SettingsFilter:
    """Reject adverts with a version, password, interval, TTL or destination that is not the instance's."""

    def __init__(self, instance: VrrpInstance) -> None:
        self._version = instance.version
        self._kind = authentication_type(instance)
        self._interval = interval_in_centiseconds(instance) // 100
        authentication = instance.authentication
        is_pass = isinstance(authentication, PassAuthentication)
        self._password = password_bytes(authentication.password) if authentication and is_pass else None
        self._is_signed = instance.hmac is not None
        self._is_unicast = bool(instance.unicast_peers)
        self._ttl_limits = {each.peer.packed: (each.low, each.high) for each in instance.ttl_limits}

    def reject(self, packet: bytes) -> Drop | None:
        """Return the reason to drop a packet. None: it must be decoded."""
        if drop := cheap_reject(packet, self._is_signed):
            return drop
        low, high = self._ttl_limits.get(packet[12:16], _ANY_TTL)
        if not low <= packet[8] <= high:
            return Drop.TTL
        if packet[9] == PROTOCOL and (drop := self._reject_fields(packet)):
            return drop
        return Drop.MODE if (packet[16] & 0xF0 == 0xE0) == self._is_unicast else None

    def _reject_fields(self, packet: bytes) -> Drop | None:
        if packet[_HEADER] >> 4 != self._version:
            return Drop.VERSION
        if self._version == 3:
            return None
        kind, interval = packet[_HEADER + 4], packet[_HEADER + 5]
        if kind != self._kind:
            return Drop.AUTHENTICATION_TYPE
        at = _HEADER + _ADVERT + 4 * packet[_HEADER + 3]
        if self._password and not hmac.compare_digest(packet[at : at + _PASSWORD], self._password):
            return Drop.PASSWORD
        return None if interval == self._interval else Drop.INTERVAL


class TokenBucket:
    """Token bucket: limits the decoded packets per second, with a burst of one second."""

    def __init__(self, rate: float = STRANGERS_A_SECOND) -> None:
        self._rate = rate
        self._left = rate
        self._at = float("-inf")

    def has_any(self, now: float) -> bool:
        """True if there is a token."""
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 1

    def spend(self, now: float) -> bool:
        """Take a token. Return False if there is none."""
        if not self.has_any(now):
            return False
        self._left -= 1
        return True
