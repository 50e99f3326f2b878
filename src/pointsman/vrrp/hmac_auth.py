# SPDX-License-Identifier: Apache-2.0
"""Adverts with an HMAC (auth_hmac of keepalived 2.4): a trailer of 28 bytes after the advert, in v2 and v3.

    type 1 | key id | 0 0 | seconds (4) | 1/65536 s (2) | counter (2) | HMAC-SHA256, its first 16 bytes

The HMAC is over a header of 20 bytes (IP version, VRRP version, VRID, 0, source address), the advert with
its checksum as 0, and the trailer with the HMAC as 0. The real-time clock is part of the sequence, which
grows with each packet, so that an old advert cannot be replayed. Over IPv4 the checksum of the advert does
not include the trailer, over IPv6 it does.
"""

from __future__ import annotations

import hmac
import struct
from collections import OrderedDict

from pointsman.model.address import Address
from pointsman.model.vrrp import HmacAuthentication
from pointsman.model.wording import duration
from pointsman.packets.keyed_hash import KeyedHash
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
        self._keys = _keys(settings)
        self._sequence = 0

    def sign(self, advert: bytes, source: Address, destination: Address, wall: float) -> bytes:
        """Return the advert with its trailer. `wall` is the real-time clock. Raises KeyError without active
        key."""
        key = self._keys[self._settings.active_key]
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
        signed = advert + prefix + _digest(key, advert + prefix, source.packed)
        return signed if source.version == 4 else with_ipv6_checksum(signed, source, destination)


class Verifier:
    """Verifier of trailers. Stores the sequence of each sender."""

    def __init__(self, settings: HmacAuthentication) -> None:
        self._settings = settings
        self._keys = _keys(settings)
        self._heard: OrderedDict[bytes, int] = OrderedDict()

    def check(self, signed: bytes, source: Address, wall: float) -> None:
        """Check a signed advert, and store its sequence if everything is right. Raises SignatureError."""
        self._heard[source.packed] = self.inspect(signed, source.packed, wall)
        self._heard.move_to_end(source.packed)
        if len(self._heard) > MOST_SENDERS:
            self._heard.popitem(last=False)

    def inspect(self, signed: bytes, source: bytes, wall: float) -> int:
        """Return the sequence of a signed advert. Nothing is stored. Raises SignatureError."""
        advert, trailer = signed[:-TRAILER_SIZE], signed[-TRAILER_SIZE:]
        if len(trailer) < TRAILER_SIZE:
            raise SignatureError("no HMAC after the advert")
        kind, number, reserved, seconds, fraction, counter = _PREFIX.unpack_from(trailer)
        if kind != _SHA256 or reserved:
            raise SignatureError(f"a trailer of an unknown kind ({kind})")
        sequence = int(seconds << 32 | fraction << 16 | counter)
        off = wall - seconds
        if self._settings.by_time and abs(off) > self._settings.window + 1:
            side = "behind" if off > 0 else "ahead of"
            raise ReplayError(
                f"its time is {duration(abs(off))} {side} ours, expecting at most "
                f"{duration(self._settings.window)} (time_window): synchronise both clocks"
            )
        try:
            key = self._keys[number]
        except KeyError:
            raise SignatureError(f"signed with key {number}, which is not configured") from None
        prefix = trailer[: _PREFIX.size]
        if not hmac.compare_digest(trailer[_PREFIX.size :], _digest(key, advert + prefix, source)):
            raise SignatureError("a wrong HMAC")
        self._check_order(source, sequence, wall)
        return sequence

    def _check_order(self, source: bytes, sequence: int, wall: float) -> None:
        last = self._heard.get(source)
        if (
            last is not None
            and self._settings.by_time
            and abs(wall - (last >> 32)) > self._settings.window + 1
        ):
            last = None  # such packets are already rejected by their time; the sender's clock was set
        if last is not None and sequence <= last:
            raise ReplayError(_old_sequence((last >> 32) - (sequence >> 32)))


def _keys(settings: HmacAuthentication) -> dict[int, KeyedHash]:
    return {each.number: KeyedHash(each.key, "sha256") for each in settings.keys}


def _old_sequence(behind: int) -> str:
    """Say why a sequence is refused that is this many seconds older than the last one."""
    if behind < 1:
        return "a repeated sequence number"
    return (
        f"its sequence is {duration(behind)} older than its last one: it is a replay, or the sender was "
        "restarted with its clock set back; then set that clock right, or restart Pointsman here"
    )


def _clock(wall: float) -> int:
    seconds = int(wall)
    return (seconds & 0xFFFFFFFF) << 32 | int((wall - seconds) * 65536) << 16


def _digest(key: KeyedHash, message: bytes, source: bytes) -> bytes:
    version, router = message[0] >> 4, message[1]
    header = bytes((4 if len(source) == 4 else 6, version, router, 0)) + source.ljust(16, b"\0")
    blank = message[:CHECKSUM_AT] + b"\0\0" + message[CHECKSUM_AT + 2 :]
    return key.digest(header + blank + bytes(_HMAC_SIZE))[:_HMAC_SIZE]
