# SPDX-License-Identifier: Apache-2.0
"""Whatever a peer sends, decoding gives an advert or a WireError; what we send comes back as it was."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from pointsman.packets.checksum import internet_checksum
from pointsman.packets.errors import WireError
from pointsman.vrrp.wire import (
    GROUP,
    PASSWORD_SIZE,
    Advert,
    decode,
    decode_ipv4,
    encode,
)

SOURCE = ipaddress.IPv4Address("192.0.2.1")
SOURCE6, GROUP6 = ipaddress.IPv6Address("fe80::1"), ipaddress.IPv6Address("ff02::12")


def adverts(family: Literal[4, 6]) -> st.SearchStrategy[Advert]:
    router, priority = st.integers(1, 255), st.integers(0, 255)
    addresses = st.lists(st.ip_addresses(v=family), max_size=255).map(tuple)
    version_3 = st.builds(
        Advert,
        version=st.just(3),
        virtual_router_id=router,
        priority=priority,
        interval=st.integers(0, 4095),
        addresses=addresses,
    )
    if family == 6:
        return version_3
    version_2 = st.builds(
        Advert,
        version=st.just(2),
        virtual_router_id=router,
        priority=priority,
        interval=st.integers(0, 255).map(lambda seconds: seconds * 100),
        addresses=addresses,
        authentication_type=st.integers(0, 255),
        password=st.binary(min_size=PASSWORD_SIZE, max_size=PASSWORD_SIZE),
    )
    return version_2 | version_3


@given(adverts(4))
def test_what_is_encoded_is_decoded(advert: Advert) -> None:
    assert decode(encode(advert, SOURCE, GROUP), SOURCE, GROUP) == advert


@given(adverts(6))
def test_what_is_encoded_is_decoded_over_ipv6(advert: Advert) -> None:
    assert decode(encode(advert, SOURCE6, GROUP6), SOURCE6, GROUP6) == advert


@given(st.binary(max_size=1100))
def test_any_bytes_give_an_advert_or_a_wire_error(data: bytes) -> None:
    for source, destination in ((SOURCE, GROUP), (SOURCE6, GROUP6)):
        with contextlib.suppress(WireError):
            decode(data, source, destination)
    with contextlib.suppress(WireError):
        datagram = decode_ipv4(data)
        assert len(datagram.payload) < len(data)


@given(adverts(4), st.data())
def test_a_changed_advert_gives_an_advert_or_a_wire_error(advert: Advert, data: st.DataObject) -> None:
    """Unlike random bytes, these get past the first checks; the checksum is made right again."""
    changed = bytearray(encode(advert, SOURCE, GROUP))
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] = data.draw(st.integers(0, 255))
    del changed[data.draw(st.integers(0, len(changed))) :]
    if len(changed) >= 8:
        changed[6:8] = b"\0\0"
        changed[6:8] = internet_checksum(bytes(changed)).to_bytes(2, "big")
    with contextlib.suppress(WireError):
        read = decode(bytes(changed), SOURCE, GROUP)
        assert len(read.addresses) * 4 < len(changed)


@given(adverts(4), st.integers(0), st.integers(1, 255))
def test_one_wrong_byte_is_noticed(advert: Advert, position: int, change: int) -> None:
    data = bytearray(encode(advert, SOURCE, GROUP))
    data[position % len(data)] ^= change
    with contextlib.suppress(WireError):
        read = decode(bytes(data), SOURCE, GROUP)
        raise AssertionError(f"{advert} was read as {read}")
