"""A first look at packets, cheap enough for a flood: most that is wrong is seen in a few bytes.

Whoever can send on the segment can send 50,000 packets a second. Each costs a few microseconds here instead
of tens; and strangers, whose packets look right so far, are looked at more closely a limited number of times.
"""

from __future__ import annotations

from pointsman.vrrp.admission import Drop
from pointsman.vrrp.wire import GROUP, PROTOCOL, TTL

STRANGERS_A_SECOND = 5000
"""Packets of senders from whom no advert has been accepted, which are decoded; twice what all routers of a
full segment send (255 of them at 100 ms)."""

_HEADER, _ADVERT = 20, 8
_ALL_ONES = 0xFFFF
_FIRST_BYTES = (0x21, 0x31)
"""Version 2 or 3, and the only type."""


def router_of(packet: bytes) -> int | None:
    """The virtual router id in an IPv4 packet of VRRP without IP options; None: it has to be decoded."""
    if len(packet) < _HEADER + _ADVERT or packet[0] != 0x45 or packet[9] != PROTOCOL:
        return None
    return packet[_HEADER + 1]


def fingerprint(packet: bytes) -> bytes:
    """An IPv4 packet without what differs in every one: identification and header checksum."""
    return packet[:4] + packet[6:10] + packet[12:]


def cheap_reject(packet: bytes) -> Drop | None:
    """What is plainly wrong with such a packet; None: nothing that can be seen so quickly."""
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
    """The Internet checksum (RFC 1071) as what it is: arithmetic modulo 65535. In any form that is in use."""
    advert = int.from_bytes(packet[_HEADER:], "big")
    if packet[_HEADER] == 0x21:
        return advert % _ALL_ONES == 0
    source = int.from_bytes(packet[12:16], "big")
    rest = advert + source + PROTOCOL + len(packet) - _HEADER
    destination = int.from_bytes(packet[16:20], "big")
    return 0 in (advert % _ALL_ONES, (rest + destination) % _ALL_ONES, (rest + int(GROUP)) % _ALL_ONES)


class TokenBucket:
    """So many closer looks a second, and not more than a second's worth at once."""

    def __init__(self, rate: float = STRANGERS_A_SECOND) -> None:
        self._rate = rate
        self._left = rate
        self._at = float("-inf")

    def spend(self, now: float) -> bool:
        """Whether there is one left."""
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
