# SPDX-License-Identifier: Apache-2.0
"""Adverts in an IPsec authentication header (auth_type AH, RFC 2402 and RFC 2403), as keepalived sends them.

The ICV is HMAC-MD5-96 over the IPv4 header (with TOS, checksum and, to unicast peers, TTL as 0), the
header with the ICV as 0, and the advert. The SPI is the sender's address. MD5 and a password of 8 bytes
give no real protection. This is for peers that support nothing else.
"""

from __future__ import annotations

import hmac
import struct

from pointsman.model.address import Address
from pointsman.packets import ip
from pointsman.packets.keyed_hash import KeyedHash
from pointsman.vrrp.wire import PROTOCOL

AH_PROTOCOL = ip.AH
HEADER_SIZE = 24

_HEADER = struct.Struct("!BBHII12s")
_WORDS = HEADER_SIZE // 4 - 2
_TOS = 0xC0
_ICV_SIZE = 12


class AuthenticationError(Exception):
    """An invalid authentication header. The text says why."""


class AhCodec:
    """Encoder and decoder of one instance's packets."""

    def __init__(self, password: bytes) -> None:
        self._key = KeyedHash(password, "md5")
        self._sequence = 0
        self._identification = 0
        self._heard: tuple[bytes, int, float] | None = None

    def wrap(self, advert: bytes, source: Address, destination: Address, ttl: int, wall: float) -> bytes:
        """Return the IPv4 packet. The sequence starts from the clock, so that it also grows over restarts."""
        self._sequence = max(self._sequence + 1, int(wall)) & 0xFFFFFFFF
        self._identification = self._identification % 0xFFFF + 1
        packet = ip.encode_ipv4(
            source.packed,
            destination.packed,
            AH_PROTOCOL,
            HEADER_SIZE + len(advert),
            ttl=ttl,
            tos=_TOS,
            identification=self._identification,
            fragment=0,
        )
        head = _HEADER.pack(
            PROTOCOL, _WORDS, 0, int.from_bytes(source.packed, "big"), self._sequence, bytes(_ICV_SIZE)
        )
        icv = self._icv(packet, head, advert)
        return packet + head[:-_ICV_SIZE] + icv + advert

    def open(self, header: bytes, payload: bytes, source: Address, now: float, patience: float) -> bytes:
        """Return the advert in the payload of a packet with this IPv4 header. Raises AuthenticationError.

        A sender whose sequence does not grow is rejected, unless it was silent for `patience` seconds. It
        may have restarted, and keepalived then starts with 1.
        """
        sequence = self.inspect(header, payload, source.packed, now, patience)
        self._heard = source.packed, sequence, now
        # keepalived compares the sequence with the last one from any sender.
        self._sequence = max(self._sequence, sequence)
        return payload[HEADER_SIZE:]

    def inspect(self, header: bytes, payload: bytes, source: bytes, now: float, patience: float) -> int:
        """Return the sequence of an authentic packet. Nothing is stored. Raises AuthenticationError."""
        if len(payload) < HEADER_SIZE:
            raise AuthenticationError("no authentication header")
        following, words, _, index, sequence, icv = _HEADER.unpack_from(payload)
        if following != PROTOCOL or words != _WORDS or index != int.from_bytes(source, "big"):
            raise AuthenticationError("an authentication header of another kind")
        advert = payload[HEADER_SIZE:]
        head = payload[: HEADER_SIZE - _ICV_SIZE] + bytes(_ICV_SIZE)
        if not hmac.compare_digest(icv, self._icv(header, head, advert)):
            raise AuthenticationError("a wrong ICV (auth_pass differs, or it is forged)")
        if self._heard is not None:
            sender, last, when = self._heard
            if sender == source and sequence <= last and now - when < patience:
                raise AuthenticationError("a repeated sequence number")
        return int(sequence)

    def _icv(self, header: bytes, head: bytes, advert: bytes) -> bytes:
        lifetime = header[8:9] if header[16] & 0xF0 == 0xE0 else b"\0"
        plain = header[:1] + b"\0" + header[2:8] + lifetime + header[9:10] + b"\0\0" + header[12:]
        return self._key.digest(plain + head + advert)[:_ICV_SIZE]


def parse_router_id(payload: bytes, protocol: int) -> int | None:
    """Return the virtual router id of an advert, with or without an authentication header. None: too
    short."""
    at = HEADER_SIZE + 1 if protocol == AH_PROTOCOL else 1
    return payload[at] if len(payload) > at else None
