# SPDX-License-Identifier: Apache-2.0
"""Reject most invalid packets by a few bytes, cheaply enough for a flood.

A host on the segment can send 50,000 packets a second. Here each costs a few microseconds instead of tens.
Packets of unknown senders that pass are decoded at a limited rate.
"""

from __future__ import annotations

import hmac

from pointsman.model.vrrp import PassAuthentication, VrrpInstance
from pointsman.vrrp.admission import Drop, authentication_type, interval_in_centiseconds
from pointsman.vrrp.wire import GROUP, PROTOCOL, TTL, password_bytes

STRANGERS_A_SECOND = 5000
"""Packets per second that are decoded from senders without an accepted advert.

Twice the rate of all routers of a full segment (255 of them at 100 ms).
"""

REFUSED_A_SECOND = 2000
"""Packets per second that are decoded and refused from a sender with an accepted advert.

Most refusals need no decoding. The rest are signatures, replays and the like. Beyond this rate the sender's
packets are dropped unread, except repeats of its last accepted advert.
"""

_HEADER, _ADVERT = 20, 8
_PASSWORD = 8
_ALL_ONES = 0xFFFF
_FIRST_BYTES = (0x21, 0x31)
"""Version 2 or 3, and the only type."""


def parse_router_id(packet: bytes) -> int | None:
    """Return the virtual router id of an IPv4 packet of VRRP without IP options. None: it must be decoded."""
    if len(packet) < _HEADER + _ADVERT or packet[0] != 0x45 or packet[9] != PROTOCOL:
        return None
    return packet[_HEADER + 1]


def fingerprint(packet: bytes) -> bytes:
    """Return an IPv4 packet without the fields that differ in each one: identification and header
    checksum."""
    return packet[:4] + packet[6:10] + packet[12:]


def cheap_reject(packet: bytes) -> Drop | None:
    """Return the reason to drop such a packet. None: it passes the quick checks."""
    length = packet[2] << 8 | packet[3]
    version, count = packet[_HEADER], packet[_HEADER + 3]
    end = _ADVERT + 4 * count + (8 if version == 0x21 else 0)
    if version not in _FIRST_BYTES or not _HEADER + end <= length <= len(packet):
        return Drop.MALFORMED
    if length == _HEADER + end and not _has_checksum(packet[:length]):
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
    """Reject adverts of another version, authentication type, password or interval than an instance has."""

    def __init__(self, instance: VrrpInstance) -> None:
        self._version = instance.version
        self._kind = authentication_type(instance)
        self._interval = interval_in_centiseconds(instance) // 100
        authentication = instance.authentication
        is_pass = isinstance(authentication, PassAuthentication)
        self._password = password_bytes(authentication.password) if authentication and is_pass else None

    def reject(self, packet: bytes) -> Drop | None:
        """Return the reason to drop a packet that has passed `cheap_reject`. None: it must be decoded."""
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
