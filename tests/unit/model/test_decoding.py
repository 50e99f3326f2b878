# SPDX-License-Identifier: Apache-2.0
"""Whatever the bytes are, a decoder's complaint is one exception with a short text."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from pointsman.control import client_messages
from pointsman.model.decoding import MAX_TEXT, InvalidDataError, decoding

SOURCE = Path(__file__).parents[3] / "src" / "pointsman"

HOSTILE = {
    "nested lists": b"[" * 60_000,
    "nested objects": b'{"a":' * 10_000,
    "nested in an unknown field": b'{"type":"StatusRequest","x":' + b"[" * 60_000,
    "no UTF-8": b'{"type":"\xff"}',
    "no end": b'{"type":',
    "nothing": b"",
    "another type": b'{"type":"' + b"x" * 60_000 + b'"}',
    "a huge number": b'{"type":"OverrideRequest","server":"10.0.0.1","port":' + b"9" * 5000 + b"}",
    "no address": b'{"type":"OverrideRequest","server":"' + b"9" * 5000 + b'"}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_one_exception_with_a_short_text(data: bytes) -> None:
    for decode in (client_messages.decode_request, client_messages.decode_reply):
        with pytest.raises(InvalidDataError) as raised:
            decode(data)
        assert len(str(raised.value)) <= MAX_TEXT + 3


def test_what_can_be_decoded_is() -> None:
    with decoding():
        assert msgspec.json.decode(b"[1]", type=list[int]) == [1]


def test_no_other_file_has_an_error_path_of_its_own() -> None:
    """RecursionError is none of msgspec's errors: a file that catches only those fails at nested JSON."""
    own = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r"MsgspecError|msgspec\.DecodeError|from msgspec import", path.read_text())
    }
    assert own == {"model/decoding.py"}
