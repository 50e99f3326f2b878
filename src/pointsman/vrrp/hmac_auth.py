# SPDX-License-Identifier: Apache-2.0
"""Adverts with an HMAC (auth_hmac of keepalived 2.4): a trailer of 28 bytes after the advert, in v2 and v3.

    type 1 | key id | 0 0 | seconds (4) | 1/65536 s (2) | counter (2) | HMAC-SHA256, its first 16 bytes

The HMAC is over a header of 20 bytes (IP version, VRRP version, VRID, 0, source address), the advert with
its checksum as 0, and the trailer with the HMAC as 0. The real-time clock is part of the sequence, which
grows with each packet, so that an old advert cannot be replayed. Over IPv4 the checksum of the advert does
not include the trailer, over IPv6 it does.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import OrderedDict

from pointsman.model.address import Address
from pointsman.model.vrrp import HmacAuthentication
from pointsman.vrrp.wire import CHECKSUM_AT, with_ipv6_checksum

TRAILER_SIZE = 28
MOST_SENDERS = 16
"""Most sources whose sequences are stored. Only signed packets add one."""

_SHA256 = 1
_HMAC_SIZE = 16
_PREFIX = struct.Struct("!BBHIHH")


class SignatureError(Exception):
    """An invalid trailer. The text says why."""


class ReplayError(SignatureError):
    """A valid signature on an advert that is repeated or too old."""


class Signer:
    """Signer of one instance's adverts."""

    def __init__(self, settings: HmacAuthentication) -> None:
        self._settings = settings
        self._sequence = 0

    def sign(self, advert: bytes, source: Address, destination: Address, wall: float) -> bytes:
        """Return the advert with its trailer. `wall` is the real-time clock. Raises KeyError without active
        key."""
        key = self._settings.key(self._settings.active_key)
        clock = _clock(wall)
        ahead = (self._sequence >> 32) - (clock >> 32)
        if clock > self._sequence or (self._settings.by_time and ahead > self._settings.window):
            self._sequence = clock  # a clock that was set back must not leave the sequence in the future
        else:
            self._sequence += 1
        prefix = _PREFIX.pack(
            *(_SHA256, self._settings.active_key, 0),
            *(self._sequence >> 32, self._sequence >> 16 & 0xFFFF, self._sequence & 0xFFFF),
        )
        signed = advert + prefix + _digest(key, advert + prefix, source)
        return signed if source.version == 4 else with_ipv6_checksum(signed, source, destination)


class Verifier:
    """Verifier of trailers. Stores the sequence of each sender."""

    def __init__(self, settings: HmacAuthentication) -> None:
        self._settings = settings
        self._heard: OrderedDict[Address, int] = OrderedDict()

    def check(self, signed: bytes, source: Address, wall: float) -> None:
        """Check a signed advert. Raises SignatureError. The sequence changes only if everything else is
        right."""
        advert, trailer = signed[:-TRAILER_SIZE], signed[-TRAILER_SIZE:]
        if len(trailer) < TRAILER_SIZE:
            raise SignatureError("no HMAC after the advert")
        kind, number, reserved, seconds, fraction, counter = _PREFIX.unpack_from(trailer)
        if kind != _SHA256 or reserved:
            raise SignatureError(f"a trailer of an unknown kind ({kind})")
        off = wall - seconds
        if self._settings.by_time and abs(off) > self._settings.window + 1:
            raise ReplayError(f"its time is {abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} ours")
        try:
            key = self._settings.key(number)
        except KeyError:
            raise SignatureError(f"signed with key {number}, which is not configured") from None
        prefix = trailer[: _PREFIX.size]
        if not hmac.compare_digest(trailer[_PREFIX.size :], _digest(key, advert + prefix, source)):
            raise SignatureError("a wrong HMAC")
        self._take(source, seconds << 32 | fraction << 16 | counter, wall)

    def _take(self, source: Address, sequence: int, wall: float) -> None:
        last = self._heard.get(source)
        if (
            last is not None
            and self._settings.by_time
            and abs(wall - (last >> 32)) > self._settings.window + 1
        ):
            last = None  # such packets are already rejected by their time; the sender's clock was set
        if last is not None and sequence <= last:
            raise ReplayError("a repeated sequence number")
        self._heard[source] = sequence
        self._heard.move_to_end(source)
        if len(self._heard) > MOST_SENDERS:
            self._heard.popitem(last=False)


def _clock(wall: float) -> int:
    seconds = int(wall)
    return (seconds & 0xFFFFFFFF) << 32 | int((wall - seconds) * 65536) << 16


def _digest(key: bytes, message: bytes, source: Address) -> bytes:
    version, router = message[0] >> 4, message[1]
    header = bytes((source.version, version, router, 0)) + source.packed.ljust(16, b"\0")
    blank = message[:CHECKSUM_AT] + b"\0\0" + message[CHECKSUM_AT + 2 :]
    return hmac.digest(key, header + blank + bytes(_HMAC_SIZE), hashlib.sha256)[:_HMAC_SIZE]
