# SPDX-License-Identifier: Apache-2.0
"""BFD packets as bytes: RFC 5880 section 4.1, and what section 6.8.6 has a receiver throw away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.bfd.wire import BadPacketError, Packet, State, decode, encode

UP = Packet(
    state=State.UP,
    diagnostic=3,
    poll=True,
    multiplier=5,
    own=0x01020304,
    yours=0x0A0B0C0D,
    min_tx=50000,
    min_rx=10000,
)
BYTES = bytes.fromhex("23e00518 01020304 0a0b0c0d 0000c350 00002710 00000000")


def test_a_packet_byte_for_byte() -> None:
    assert encode(UP) == BYTES
    assert decode(BYTES) == UP


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (BYTES[:23], "too few"),
        (b"\x43" + BYTES[1:], "version 2"),
        (BYTES[:1] + b"\xe4" + BYTES[2:], "has authentication"),
        (BYTES[:1] + b"\xe1" + BYTES[2:], "multipoint"),
        (BYTES[:2] + b"\0" + BYTES[3:], "multiplier 0"),
        (BYTES[:3] + b"\x17" + BYTES[4:], "length field is 23"),
        (BYTES[:3] + b"\x19" + BYTES[4:], "length field is 25"),
        (BYTES[:4] + bytes(4) + BYTES[8:], "discriminator 0"),
        (BYTES[:8] + bytes(4) + BYTES[12:], "in state UP"),
    ],
)
def test_what_is_thrown_away(changed: bytes, reason: str) -> None:
    with pytest.raises(BadPacketError, match=reason):
        decode(changed)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        packet = decode(data)
    except BadPacketError:
        return
    assert decode(encode(packet)) == packet
