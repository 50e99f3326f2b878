# SPDX-License-Identifier: Apache-2.0
"""HTTP_GET and SSL_GET: build the request, read the answer within bounds, and judge it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import NamedTuple

import regex

from pointsman.model.address import format_endpoint
from pointsman.model.checks import HttpCheck, HttpVersion, Pattern, Url

MOST_HEADER = 64 * 1024
"""Bytes of status line and header fields."""
MOST_INTERIM = 16
"""Interim answers before the final one."""
MOST_BODY = 64 * 1024 * 1024
"""Most bytes of a body. They are hashed on arrival and not stored."""
MOST_KEPT = 1024 * 1024
"""Most bytes of a body that a regular expression can match."""
MATCH_TIME = 0.3
"""Most seconds for one search. Its memory grows with its time, to about 100 MB in this one."""

_SWITCHING_PROTOCOLS = 101
"""The one status below 200 behind which no other answer comes."""
_OPTIONS = {
    "caseless": regex.IGNORECASE,
    "dotall": regex.DOTALL,
    "multiline": regex.MULTILINE,
    "extended": regex.VERBOSE,
}
"""PCRE2 options by keepalived's names, except those that the code below implements.

The configuration drops options that do not affect matching.
"""
_ANCHOR = re.compile(rb"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|[$^]", re.DOTALL)
"""An anchor of an expression, or an escape or class in which the same character is no anchor."""


class LongSearchError(Exception):
    """The search for a regular expression took longer than MATCH_TIME. The text says so."""


class BadAnswerError(Exception):
    """The data is not an HTTP answer, or exceeds the bounds. The text says why."""


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    digest: str
    """MD5 of the body in hexadecimal."""
    body: bytes
    """Its first `MOST_KEPT` bytes, if they were requested."""


def host_header(check: HttpCheck, url: Url) -> str:
    """Return the value of the Host header."""
    return url.virtualhost or format_endpoint(check.connect_address, check.connect_port)


def tls_name(check: HttpCheck, url: Url) -> str:
    """Return the server name for the TLS handshake. Empty: none is sent."""
    return check.server_name or (url.virtualhost.rpartition(":")[0] or url.virtualhost) * check.sni_from_host


def build_request(url: Url, host: str, version: HttpVersion) -> bytes:
    """Return the bytes of the GET request, with the lines in keepalived's order."""
    number = "1.1" if version is HttpVersion.V1_1 else "1.0"
    close = "" if version is HttpVersion.V1_0 else "Connection: close\r\n"
    fields = f"User-Agent: Pointsman\r\n{close}Host: {host}\r\n"
    text = f"GET {url.path} HTTP/{number}\r\n{fields}\r\n"
    return text.encode("utf-8", "surrogateescape")


class AnswerReader:
    """Incremental reader of one answer. It stores only the bytes that are needed."""

    def __init__(self, keep_body: bool) -> None:
        self._keep = MOST_KEPT if keep_body else 0
        self._head = b""
        self._interim: list[int] = []
        """Status of each interim answer that has come (RFC 9110 section 15.2)."""
        self._status = 0
        self._left: int | None = None
        """Remaining bytes of the body or of the present chunk. None: until the end of the connection."""
        self._chunks: _Chunks | None = None
        self._length = 0
        self._hash = hashlib.md5(usedforsecurity=False)
        self._body = bytearray()
        self.done = False
        """True if the answer is complete although the connection is open."""

    def feed(self, data: bytes) -> None:
        """Add bytes from the real server. Raises BadAnswerError."""
        if self._status:
            self._take(data)
            return
        self._head += data
        while not self._status:
            end, size = _header_end(self._head)
            if end < 0:
                self._check_unfinished()
                return
            head, self._head = self._head[:end], self._head[end + size :]
            self._read_header(head)
        rest, self._head = self._head, b""
        self._take(rest)

    def _check_unfinished(self) -> None:
        """Raises BadAnswerError: this is not going to be a header."""
        if len(self._head) > MOST_HEADER:
            raise BadAnswerError(f"a header of more than {MOST_HEADER >> 10} KiB")
        if not _may_be_http(self._head):
            raise BadAnswerError(f"no HTTP: {_shown(self._head)}")

    def finish(self) -> Answer:
        """Return the answer after it is complete or the connection has ended. Raises BadAnswerError."""
        if not self._status:
            raise BadAnswerError(self._missing())
        if not self.done and (self._left is not None or self._chunks is not None):
            raise BadAnswerError(f"the answer was cut off after {self._length} bytes")
        return Answer(self._status, self._hash.hexdigest(), bytes(self._body))

    def _missing(self) -> str:
        """Return why there is no answer at the end of the connection."""
        if self._head:
            return "the connection ended within the header"
        if self._interim:
            return f"no answer after an interim one (status {self._interim[-1]})"
        return "no data received"

    def _read_header(self, head: bytes) -> None:
        lines = head.replace(b"\r\n", b"\n").split(b"\n")
        words = lines[0].split(None, 2)
        if (
            not _may_be_http(lines[0] + b"\n")
            or len(words) < 2
            or not words[1].isdigit()
            or len(words[1]) != 3
        ):
            raise BadAnswerError(f"no HTTP: {_shown(lines[0])}")
        status = int(words[1])
        fields = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(b":") for line in lines[1:])
            if colon
        }
        if 100 <= status < 200 and status != _SWITCHING_PROTOCOLS:
            self._interim.append(status)
            if len(self._interim) > MOST_INTERIM:
                raise BadAnswerError(f"more than {MOST_INTERIM} interim answers")
            return
        self._status = status
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            self._chunks = _Chunks()
        elif status in (204, 304):
            self._left = 0
        elif b"content-length" in fields:
            length = fields[b"content-length"]
            if not length.isdigit() or len(length) > 18:
                raise BadAnswerError(f"a Content-Length of {_shown(length)}")
            self._left = int(length)

    def _take(self, data: bytes) -> None:
        if self._chunks is not None:
            data = self._chunks.decode(data)
            self.done = self._chunks.done
        elif self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            self.done = self._left == 0
        self._length += len(data)
        if self._length > MOST_BODY:
            raise BadAnswerError(f"a body of more than {MOST_BODY >> 20} MiB")
        self._hash.update(data)
        if len(self._body) < self._keep:
            self._body += data[: self._keep - len(self._body)]


class _Chunks:
    """Decoder of the transfer coding `chunked` (RFC 9112 section 7.1)."""

    def __init__(self) -> None:
        self._line = b""
        self._left = 0
        self._trailer = False
        self.done = False

    def decode(self, data: bytes) -> bytes:
        """Return the content of these bytes. Raises BadAnswerError."""
        found = bytearray()
        while data and not self.done:
            if self._left > 2:
                part = data[: self._left - 2]
                found += part
                data = data[len(part) :]
                self._left -= len(part)
            elif self._left:
                skipped = data[: self._left]
                data = data[len(skipped) :]
                self._left -= len(skipped)
            else:
                data = self._size(data)
        return bytes(found)

    def _size(self, data: bytes) -> bytes:
        line, newline, rest = data.partition(b"\n")
        self._line += line
        if len(self._line) > 4096:
            raise BadAnswerError("a chunk's size of more than 4096 bytes")
        if not newline:
            return b""
        text, self._line = self._line.strip(), b""
        if self._trailer:
            self.done = not text
            return rest
        digits = text.partition(b";")[0].strip()
        if not digits or len(digits) > 15 or not all(sign in b"0123456789abcdefABCDEF" for sign in digits):
            raise BadAnswerError(f"a chunk's size of {_shown(text)}")
        size = int(digits, 16)
        self._trailer = size == 0
        self._left = size + 2 if size else 0  # includes the line end after a chunk
        return rest


def judge_answer(url: Url, answer: Answer) -> str:
    """Return why this answer is a failure, apart from regular expressions. Empty: it is a success."""
    if not any(low <= answer.status <= high for low, high in url.status):
        return f"status {answer.status} instead of {status_text(url)}"
    if url.digest and answer.digest != url.digest:
        return f"MD5 digest {answer.digest} instead of {url.digest}"
    return ""


def status_text(url: Url) -> str:
    """Return the expected status codes, for example `200-299 404`."""
    return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in url.status)


def compile_pattern(pattern: Pattern) -> regex.Pattern[bytes]:
    """Return the compiled expression. Raises ValueError if it is invalid."""
    flags = regex.VERSION0
    for option in pattern.options:
        flags |= _OPTIONS.get(option, 0)
    text = pattern.text.encode("utf-8", "surrogateescape")
    anchors = _anchors(pattern.options)
    try:
        return regex.compile(_ANCHOR.sub(lambda found: anchors.get(found[0], found[0]), text), flags)
    except regex.error as error:
        raise ValueError(str(error)) from None


def _anchors(options: Collection[str]) -> dict[bytes, bytes]:
    """Return replacements for ^ and $ where PCRE2 has another meaning (pcre2pattern(3), "Circumflex and
    dollar")."""
    if "multiline" not in options:
        return {b"$": rb"\Z"} if "dollar_endonly" in options else {}
    # No line starts after the last newline, unless alt_circumflex is set.
    return {} if "alt_circumflex" in options else {b"^": rb"(?:\A|^(?!\Z))"}


def judge_body(pattern: Pattern, expression: regex.Pattern[bytes], body: bytes) -> str:
    """Return why the body does not fit the pattern. Empty: it fits.

    Raises LongSearchError after MATCH_TIME.
    """
    try:
        match = expression.search(body, pattern.min_offset, timeout=MATCH_TIME, concurrent=True)
    except TimeoutError:
        text = f"the search for regex {pattern.text!r} took longer than {MATCH_TIME:g} s"
        raise LongSearchError(text) from None
    found = match is not None and match.start() <= _latest(pattern, body)
    if found is pattern.wanted:
        return ""
    return f"regex {pattern.text!r} {'matches' if found else 'does not match'}"


def _latest(pattern: Pattern, body: bytes) -> int:
    """Return the last offset where a match may start."""
    latest = pattern.max_offset - 1 if pattern.max_offset else len(body)
    first_line = body.find(b"\n", pattern.min_offset) if "firstline" in pattern.options else -1
    return latest if first_line < 0 else min(latest, first_line)


def _header_end(data: bytes) -> tuple[int, int]:
    """Return the offset of the empty line and the length of its line ends. -1: not found."""
    found = [(at, len(end)) for end in (b"\r\n\r\n", b"\n\n") if (at := data.find(end)) >= 0]
    return min(found, default=(-1, 0))


def _may_be_http(head: bytes) -> bool:
    return head[:5] == b"HTTP/"[: len(head)]


def _shown(data: bytes) -> str:
    """Return bytes of a peer in a form for log lines."""
    return repr(data[:40])[1:]
