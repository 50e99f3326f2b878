# SPDX-License-Identifier: Apache-2.0
"""Datagrams of the synchronisation: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.sync.wire import (
    LONGEST,
    MOST_IN_A_RANGE,
    MOST_RANGES,
    MOST_RECORDS,
    RECORD_SIZE,
    BadDatagramError,
    Datagram,
    Drop,
    Hello,
    Kind,
    Range,
    decode,
    decode_hello,
    encode,
    encode_hello,
    key_of,
)

KEY = key_of(b"a secret of enough bytes")
U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
RECORDS = st.integers(0, MOST_RECORDS).map(lambda count: b"r" * RECORD_SIZE * count)
RANGES = st.builds(Range, U64, st.integers(0, MOST_IN_A_RANGE), st.booleans())
HELLOS = st.builds(
    Hello,
    next_direct=U64,
    next_group=U64,
    oldest_direct=U64,
    oldest_group=U64,
    expected_direct=U64,
    expected_group=U64,
    carried=U64,
    table_request=U32,
    answer=st.booleans(),
    stopping=st.booleans(),
    missing=st.lists(RANGES, max_size=MOST_RANGES).map(tuple),
)


def dropped(data: bytes, key: bytes = KEY) -> Drop:
    with pytest.raises(BadDatagramError) as caught:
        decode(key, data)
    return caught.value.drop


@given(st.sampled_from([Kind.LIVE, Kind.TABLE]), U64, U64, U64, RECORDS)
def test_records_are_read_as_they_were_written(
    kind: Kind, session: int, to: int, sequence: int, body: bytes
) -> None:
    data = encode(KEY, kind, session, to, sequence, body)
    assert len(data) <= LONGEST
    assert decode(KEY, data) == Datagram(kind, session, to, sequence, body)


@given(HELLOS)
def test_a_hello_is_read_as_it_was_written(hello: Hello) -> None:
    datagram = decode(KEY, encode(KEY, Kind.HELLO, 1, 2, 3, encode_hello(hello)))
    assert decode_hello(datagram.body) == hello


@given(st.binary(max_size=LONGEST + 100))
def test_bytes_without_the_key_are_dropped(data: bytes) -> None:
    assert dropped(data) in (Drop.SIZE, Drop.VERSION, Drop.KEY)


@given(RECORDS, st.data())
def test_one_changed_bit_is_found(body: bytes, choice: st.DataObject) -> None:
    data = bytearray(encode(KEY, Kind.LIVE, 1, 2, 3, body))
    data[choice.draw(st.integers(0, len(data) - 1))] ^= 1 << choice.draw(st.integers(0, 7))
    assert dropped(bytes(data)) in (Drop.VERSION, Drop.KEY)


@given(st.binary(max_size=400))
def test_the_body_of_a_hello_with_a_right_key_may_be_anything(body: bytes) -> None:
    try:
        hello = decode_hello(body)
    except BadDatagramError as error:
        assert error.drop is Drop.KIND
    else:
        assert len(hello.missing) <= MOST_RANGES
        assert all(each.length <= MOST_IN_A_RANGE for each in hello.missing)


def test_another_key_is_told_from_another_version() -> None:
    data = encode(KEY, Kind.LIVE, 1, 2, 3, b"")
    assert dropped(data, key_of(b"some other secret")) is Drop.KEY
    assert dropped(b"XXXX" + data[4:]) is Drop.VERSION
    assert dropped(data[:20]) is Drop.SIZE


def test_a_body_that_is_no_whole_number_of_records_is_dropped() -> None:
    assert dropped(encode(KEY, Kind.LIVE, 1, 2, 3, b"x" * (RECORD_SIZE + 1))) is Drop.KIND


def test_blanks_around_a_secret_do_not_count() -> None:
    assert key_of(b"secret of the pair\n") == key_of(b"  secret of the pair")
