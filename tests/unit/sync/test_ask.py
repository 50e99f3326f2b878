# SPDX-License-Identifier: Apache-2.0
"""Questions to real servers and their answers: what is changed, repeated or foreign is refused."""

from __future__ import annotations

import contextlib
import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.packets.record import RECORD_SIZE, Record, RecordFlag
from pointsman.sync import ask

KEY = ask.key_of(b"0123456789abcdef")
CHALLENGE, NONCE = b"c" * ask.NONCE_SIZE, b"n" * ask.NONCE_SIZE
TALK = ask.Conversation(KEY, CHALLENGE, NONCE)
SERVICE = Record(
    client=ipaddress.ip_address("0.0.0.0"),
    virtual=ipaddress.ip_address("192.168.7.33"),
    virtual_port=80,
    server=ipaddress.ip_address("192.168.88.20"),
    server_port=8080,
    protocol=6,
    seconds=0,
)


def found(number: int, **changes: object) -> bytes:
    """Return a connection of SERVICE."""
    client = ipaddress.IPv4Address(0x0A000000 + number)
    return msgspec.structs.replace(
        SERVICE, client=client, client_port=1024, seconds=900, state=2, **changes
    ).encode()


def answered(runs: list[bytes], talk: ask.Conversation = TALK) -> list[bytes]:
    """Return the messages of an answer."""
    messages = [ask.encode_page(talk, number, page) for number, page in enumerate(ask.pages(runs))]
    return [*messages, ask.encode_page(talk, len(messages), b"")]


def test_a_question_is_what_was_asked() -> None:
    data = ask.encode_question(TALK, [SERVICE.encode()])
    assert len(data) == ask.HEADER_SIZE + ask.question_rest(data[: ask.HEADER_SIZE])
    assert ask.decode_question(KEY, CHALLENGE, data) == (TALK, [SERVICE.encode()])
    assert ask.decode_challenge(ask.encode_challenge(CHALLENGE)) == CHALLENGE


@given(st.lists(st.integers(0, 1500), max_size=5), st.integers(1, 70000))
def test_an_answer_arrives_whole_in_whatever_pieces(sizes: list[int], step: int) -> None:
    runs = [b"".join(map(found, range(size))) for size in sizes]
    data = b"".join(answered(runs))
    answer = ask.Answer(TALK, [SERVICE.encode()])
    arrived = [
        records
        for start in range(0, len(data), step)
        for records in answer.receive(data[start : start + step])
    ]
    assert answer.complete
    assert b"".join(arrived) == b"".join(runs)
    assert all(len(records) <= ask.PAGE * RECORD_SIZE for records in arrived)


@given(st.data())
def test_a_changed_bit_is_refused(data: st.DataObject) -> None:
    question = bytearray(ask.encode_question(TALK, [SERVICE.encode()]))
    page = bytearray(ask.encode_page(TALK, 0, found(1)))
    for message in question, page:
        place = data.draw(st.integers(0, len(message) * 8 - 1))
        message[place // 8] ^= 1 << place % 8
    with pytest.raises(ask.BadMessageError):
        ask.decode_question(KEY, CHALLENGE, bytes(question))
    answer = ask.Answer(TALK, [SERVICE.encode()])
    with contextlib.suppress(ask.BadMessageError):  # a larger count waits for more
        assert answer.receive(bytes(page)) == []
    assert not answer.complete


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused(data: bytes) -> None:
    with contextlib.suppress(ask.BadMessageError):
        assert ask.Answer(TALK, [SERVICE.encode()]).receive(data) == []
    for decode in (lambda: ask.decode_question(KEY, CHALLENGE, data), lambda: ask.decode_challenge(data)):
        with pytest.raises(ask.BadMessageError):
            decode()


@pytest.mark.parametrize(
    "other",
    [
        ask.Conversation(ask.key_of(b"another secret.."), CHALLENGE, NONCE),
        ask.Conversation(KEY, b"d" * ask.NONCE_SIZE, NONCE),
        ask.Conversation(KEY, CHALLENGE, b"m" * ask.NONCE_SIZE),
    ],
    ids=["key", "challenge", "nonce"],
)
def test_an_answer_of_another_conversation_is_refused(other: ask.Conversation) -> None:
    for message in answered([found(1)], other):
        with pytest.raises(ask.BadMessageError):
            ask.Answer(TALK, [SERVICE.encode()]).receive(message)


def test_a_question_of_another_conversation_is_refused() -> None:
    data = ask.encode_question(TALK, [SERVICE.encode()])
    for key, challenge in ((ask.key_of(b"another secret.."), CHALLENGE), (KEY, NONCE)):
        with pytest.raises(ask.BadMessageError, match="wrong key"):
            ask.decode_question(key, challenge, data)


def test_pages_out_of_order_are_refused() -> None:
    first, second, _ = answered([b"".join(map(found, range(ask.PAGE + 1)))])
    answer = ask.Answer(TALK, [SERVICE.encode()])
    with pytest.raises(ask.BadMessageError):
        answer.receive(second)
    answer = ask.Answer(TALK, [SERVICE.encode()])
    answer.receive(first)
    with pytest.raises(ask.BadMessageError):
        answer.receive(first)


def test_bytes_after_the_end_are_refused() -> None:
    answer = ask.Answer(TALK, [SERVICE.encode()])
    with pytest.raises(ask.BadMessageError, match="after the end"):
        answer.receive(b"".join(answered([found(1)])) + bytes(ask.HEADER_SIZE))


@pytest.mark.parametrize(
    "changes",
    [
        {"virtual": ipaddress.ip_address("192.168.7.34")},
        {"virtual_port": 81},
        {"server": ipaddress.ip_address("192.168.88.21")},
        {"server_port": 80},
        {"protocol": 17},
        {"fwmark": 1},
        {"flags": RecordFlag.TEMPLATE},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_server_speaks_only_for_what_it_was_asked(changes: dict[str, object]) -> None:
    answer = ask.Answer(TALK, [SERVICE.encode()])
    with pytest.raises(ask.BadMessageError, match="not asked"):
        answer.receive(ask.encode_page(TALK, 0, found(1) + found(2, **changes)))


def test_port_0_stands_for_every_port() -> None:
    every = msgspec.structs.replace(SERVICE, virtual_port=0, server_port=0)
    answer = ask.Answer(TALK, [every.encode()])
    assert answer.receive(ask.encode_page(TALK, 0, found(1, virtual_port=4711, server_port=0)))


def test_an_answer_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "MOST_PAGES", 3)
    run = b"".join(map(found, range(ask.PAGE)))
    assert len(list(ask.pages([run] * 9))) == 2
    answer = ask.Answer(TALK, [SERVICE.encode()])
    for number in range(3):
        answer.receive(ask.encode_page(TALK, number, run))
    with pytest.raises(ask.BadMessageError, match="too many"):
        answer.receive(ask.encode_page(TALK, 3, run))
