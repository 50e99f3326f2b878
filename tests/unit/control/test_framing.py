# SPDX-License-Identifier: Apache-2.0
"""The framing of the control socket, from both ends, and what the client says when something is wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pointsman.control.client import ControlError, DirectorNotRunning, replies, request
from pointsman.control.client_messages import (
    ErrorReply,
    StatusRequest,
    TableReply,
    TableRequest,
    decode_request,
    encode,
)
from pointsman.control.framing import MAX_MESSAGE, ProtocolError, frame, receive_frame, send_frame
from pointsman.control.server_frames import read_frame, write_frame
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable, VirtualService
from pointsman.model.traffic import Counters, ServiceCounters


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_frames_follow_each_other(pair: tuple[socket.socket, socket.socket]) -> None:
    send_frame(pair[0], b"first")
    send_frame(pair[0], b"")
    send_frame(pair[0], b"third")
    pair[0].close()
    assert [receive_frame(pair[1], 5) for _ in range(4)] == [b"first", b"", b"third", None]


@pytest.mark.parametrize("sent", [b"\0\0", frame(b"message")[:-1]])
def test_a_frame_cut_short_is_an_error(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    pair[0].sendall(sent)
    pair[0].close()
    with pytest.raises(ProtocolError, match="closed"):
        receive_frame(pair[1], 5)


def test_a_length_above_the_bound_is_refused_before_anything_is_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[0].sendall(struct.pack("!I", MAX_MESSAGE + 1))
    with pytest.raises(ProtocolError, match=str(MAX_MESSAGE)):
        receive_frame(pair[1], 5)


def test_a_peer_that_stops_in_the_middle_runs_into_the_time_limit(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[0].sendall(frame(b"message")[:-1])
    with pytest.raises(TimeoutError):
        receive_frame(pair[1], 0.05)


def test_asyncio_speaks_the_same_frames() -> None:
    async def talk() -> list[bytes | None]:
        one, other = socket.socketpair()
        _, writer = await asyncio.open_unix_connection(sock=one)
        reader, other_writer = await asyncio.open_unix_connection(sock=other)
        await write_frame(writer, b"first")
        writer.write(frame(b"second"))
        writer.close()
        received = [await read_frame(reader) for _ in range(3)]
        other_writer.close()
        return received

    assert asyncio.run(talk()) == [b"first", b"second", None]


@pytest.mark.parametrize(
    "sent",
    [b"\0\0", frame(b"message")[:-1], struct.pack("!I", MAX_MESSAGE + 1)],
    ids=["head", "body", "bound"],
)
def test_asyncio_refuses_what_the_blocking_reader_refuses(sent: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(sent)
        reader.feed_eof()
        await read_frame(reader)

    with pytest.raises(ProtocolError):
        asyncio.run(read())


def director(path: Path, answer: Callable[[bytes], bytes]) -> threading.Thread:
    """One answer to one client at `path`; `answer` turns the request into the raw bytes sent back."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                received = receive_frame(connection, 5)
                assert received is not None
                connection.sendall(answer(received))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_request_gets_its_reply(tmp_path: Path) -> None:
    def answer(received: bytes) -> bytes:
        assert decode_request(received) == StatusRequest()
        return frame(encode(TableReply(ServiceTable(), Counters(), (1, 2, 3), 4)))

    director(tmp_path / "control.sock", answer)
    assert request(StatusRequest(), tmp_path / "control.sock", 5) == TableReply(
        ServiceTable(), Counters(), (1, 2, 3), 4
    )


def test_a_long_table_comes_in_several_messages(tmp_path: Path) -> None:
    keys = [ServiceKey.mark(number) for number in range(1, 4)]
    parts = [
        TableReply(
            ServiceTable((ServiceEntry(VirtualService(key=key)),)),
            Counters((ServiceCounters(key),)),
            (1, 2, 3),
            4,
            more=True,
        )
        for key in keys
    ]
    parts.append(TableReply(ServiceTable(), Counters(exits={"no_service": 5}), (1, 2, 3), 4))
    sent = b"".join(frame(encode(part)) for part in parts)
    for name in ("whole", "parts"):
        director(tmp_path / name, lambda _: sent)
    director(tmp_path / "cut", lambda _: frame(encode(parts[0])))
    whole = request(TableRequest(), tmp_path / "whole", 5)
    assert isinstance(whole, TableReply)
    assert [entry.service.key for entry in whole.table] == keys
    assert list(whole.counters.by_service()) == keys
    assert whole.counters.exits == {"no_service": 5}
    assert list(replies(TableRequest(), tmp_path / "parts", 5)) == parts
    with pytest.raises(ProtocolError, match="without an answer"):
        request(TableRequest(), tmp_path / "cut", 5)


def test_the_directors_own_error_comes_back_as_it_is(tmp_path: Path) -> None:
    director(tmp_path / "control.sock", lambda _: frame(encode(ErrorReply("not allowed"))))
    assert request(StatusRequest(), tmp_path / "control.sock", 5) == ErrorReply("not allowed")


@pytest.mark.parametrize("answer", [b"", frame(b"not json"), frame(b'{"type": "Nonsense"}'), b"\0"])
def test_an_answer_that_is_no_reply_is_a_protocol_error(tmp_path: Path, answer: bytes) -> None:
    director(tmp_path / "control.sock", lambda _: answer)
    with pytest.raises(ProtocolError):
        request(StatusRequest(), tmp_path / "control.sock", 5)


def test_without_a_director_the_message_names_the_place_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with pytest.raises(DirectorNotRunning, match="pointsman run") as missing:
        request(StatusRequest(), path)
    assert str(path) in str(missing.value)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))
    with pytest.raises(DirectorNotRunning):
        request(StatusRequest(), path)


def test_a_silent_director_is_not_waited_for_longer_than_the_time_limit(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ControlError, match="does not answer"):
            request(StatusRequest(), path, 0.05)
