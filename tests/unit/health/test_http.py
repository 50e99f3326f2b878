# SPDX-License-Identifier: Apache-2.0
"""Requests, answers in every form, and what makes an answer wrong."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.health import http
from pointsman.health.http import Answer, AnswerReader, BadAnswerError
from pointsman.model.checks import HttpCheck, HttpVersion, Pattern, Url

CHECK = HttpCheck(connect_address=ip_address("192.0.2.20"), connect_port=80)


def read(data: bytes, sizes: int = 0, keep: bool = True) -> Answer:
    """The answer in these bytes, which come in pieces of `sizes` (0: at once), and then the end."""
    reader = AnswerReader(keep)
    for at in range(0, len(data), sizes or len(data) or 1):
        if not reader.done:
            reader.feed(data[at : at + (sizes or len(data))])
    return reader.finish()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (HttpVersion.V1_0, b"GET /x HTTP/1.0\r\nUser-Agent: Pointsman\r\nHost: 192.0.2.20:80\r\n\r\n"),
        (
            HttpVersion.V1_0C,
            b"GET /x HTTP/1.0\r\nUser-Agent: Pointsman\r\nConnection: close\r\nHost: 192.0.2.20:80\r\n\r\n",
        ),
        (
            HttpVersion.V1_1,
            b"GET /x HTTP/1.1\r\nUser-Agent: Pointsman\r\nConnection: close\r\nHost: 192.0.2.20:80\r\n\r\n",
        ),
    ],
)
def test_the_request(version: HttpVersion, lines: bytes) -> None:
    check = HttpCheck(connect_address=CHECK.connect_address, connect_port=80, version=version)
    assert http.build_request(Url(path="/x"), http.host_header(check, Url()), check.version) == lines


def test_the_host_is_the_virtual_host_or_address_and_port() -> None:
    six = HttpCheck(connect_address=ip_address("2001:db8::1"), connect_port=8080)
    assert http.host_header(six, Url()) == "[2001:db8::1]:8080"
    assert http.host_header(six, Url(virtualhost="www.example.org")) == "www.example.org"


@pytest.mark.parametrize(
    ("sni", "name", "virtualhost", "sent"),
    [
        (False, "", "www.example.org", ""),
        (True, "", "www.example.org", "www.example.org"),
        (True, "", "www.example.org:8443", "www.example.org"),
        (True, "", "", ""),
        (True, "b.example.org", "www.example.org", "b.example.org"),
        (False, "b.example.org", "", "b.example.org"),
    ],
)
def test_the_server_name_in_the_handshake(sni: bool, name: str, virtualhost: str, sent: str) -> None:
    check = HttpCheck(
        connect_address=CHECK.connect_address, connect_port=443, tls=True, sni_from_host=sni, server_name=name
    )
    assert http.tls_name(check, Url(virtualhost=virtualhost)) == sent


FORMS = [
    (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    (b"HTTP/1.0 200 OK\n\nhello", b"hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more than that", b"hello"),
    (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", b""),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
        b"hello!",
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"hello"),
    (b"HTTP/1.1 200\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length:   2  \r\n\r\nok", b"ok"),
    (b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b"a" * 60000 + b"\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok",
        b"ok",
    ),
]


@pytest.mark.parametrize(("data", "body"), FORMS)
@pytest.mark.parametrize("sizes", [0, 1, 2, 3, 7])
def test_answers_in_every_form_and_in_pieces(data: bytes, body: bytes, sizes: int) -> None:
    assert read(data, sizes) == Answer(200, md5(body), body)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no data received"),
        (b"HTTP/1.1 200 OK\r\nServer: x", "the connection ended within the header"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP: 'SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 OK\r\n\r\n", "no HTTP: 'HTTP/1.1 OK'"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200OK\r\n\r\n", "no HTTP: 'HTTP/1.1 200OK'"),
        (b"ICY 200 OK\r\n\r\n", "no HTTP: 'ICY 200 OK"),
        (b"\0\0\x12\4\0\0\0\0\0", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "cut off after 5 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "a Content-Length of '-1'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "cut off after 3 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", "a chunk's size of '-5'"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", r"no answer after an interim one \(status 100\)"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200", "the connection ended within the header"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nhello", "no HTTP: 'hello'"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17, "more than 16 interim answers"),
    ],
)
def test_what_is_no_answer(data: bytes, text: str) -> None:
    with pytest.raises(BadAnswerError, match=text):
        read(data)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_is_complete_although_the_connection_stays(status: int) -> None:
    reader = AnswerReader(False)
    reader.feed(b"HTTP/1.1 %d Anything\r\nServer: x\r\n\r\n" % status)
    assert reader.done
    assert reader.finish().status == status


def test_switching_protocols_is_a_final_answer() -> None:
    assert read(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").status == 101


def test_an_endless_header_is_given_up() -> None:
    reader = AnswerReader(False)
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(BadAnswerError, match="a header of more than 64 KiB"):
        for _ in range(100):
            reader.feed(b"X: " + b"y" * 1000 + b"\r\n")


def test_an_endless_body_is_given_up_and_not_kept() -> None:
    reader = AnswerReader(True)
    reader.feed(b"HTTP/1.0 200 OK\r\n\r\n")
    with pytest.raises(BadAnswerError, match="a body of more than 64 MiB"):
        for _ in range(65):
            reader.feed(bytes(1 << 20))
    assert len(reader._body) == http.MOST_KEPT


@given(st.binary(max_size=300), st.integers(1, 9))
def test_any_bytes_give_an_answer_or_a_reason(data: bytes, sizes: int) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        try:
            assert read(start + data, sizes).status in range(1000)
        except BadAnswerError as error:
            assert str(error)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 20))
def test_chunks_give_the_body_back(parts: list[bytes], sizes: int) -> None:
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    answer = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded, sizes)
    assert answer.body == b"".join(parts)


@pytest.mark.parametrize(
    ("url", "trouble"),
    [
        (Url(), ""),
        (Url(status=((404, 404), (100, 200))), ""),
        (Url(status=((201, 299), (404, 404))), "status 200 instead of 201-299 404"),
        (Url(digest=md5(b"hello")), ""),
        (Url(digest=md5(b"other")), f"MD5 digest {md5(b'hello')} instead of {md5(b'other')}"),
    ],
)
def test_status_and_digest(url: Url, trouble: str) -> None:
    assert http.judge_answer(url, Answer(200, md5(b"hello"), b"")) == trouble


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        (Pattern(text="w.rld"), True),
        (Pattern(text="WORLD"), False),
        (Pattern(text="WORLD", options=("caseless",)), True),
        (Pattern(text="hello.world"), False),
        (Pattern(text="hello.world", options=("dotall",)), True),
        (Pattern(text="^world"), False),
        (Pattern(text="^world", options=("multiline",)), True),
        (Pattern(text="wor ld # x", options=("extended",)), True),
        (Pattern(text="world", wanted=False), False),
        (Pattern(text="absent", wanted=False), True),
        (Pattern(text="hello", min_offset=1), False),
        (Pattern(text="world", max_offset=6), False),
        (Pattern(text="world", max_offset=7), True),
    ],
)
def test_regular_expressions(pattern: Pattern, fits: bool) -> None:
    assert (http.judge_body(pattern, http.compile_pattern(pattern), b"hello\nworld") == "") is fits


def test_a_search_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MATCH_TIME", 0.05)
    pattern = Pattern(text=r"(a|aa|aaa)+$")
    with pytest.raises(http.LongSearchError, match=r"took longer than 0\.05 s"):
        http.judge_body(pattern, http.compile_pattern(pattern), b"a" * 5000 + b"b")
