"""HTTP_GET and SSL_GET: the request, a reader of answers with bounds, and what an answer is worth."""

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
"""Bytes of a body; they are hashed as they come, not kept."""
MOST_KEPT = 1024 * 1024
"""Bytes of a body that a regular expression looks at."""
MATCH_TIME = 1.0
"""Seconds that one search may take."""

_SWITCHING_PROTOCOLS = 101
"""The one status below 200 behind which no other answer comes."""
_OPTIONS = {
    "caseless": regex.IGNORECASE,
    "dotall": regex.DOTALL,
    "multiline": regex.MULTILINE,
    "extended": regex.VERBOSE,
}
"""PCRE2 options by keepalived's names, beside those that are done below.

The configuration leaves out those that do not change whether there is a match.
"""
_ANCHOR = re.compile(rb"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|[$^]", re.DOTALL)
"""An anchor of an expression, and before it what hides the same sign: an escape, a class."""


class BadAnswerError(Exception):
    """What came is not an answer in HTTP, or is larger than the bounds; the text says how."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    digest: str
    """MD5 of the body in hexadecimal."""
    body: bytes
    """Its first `MOST_KEPT` bytes, when they were asked for."""


def host_of(check: HttpCheck, url: Url) -> str:
    """The value of the Host header."""
    return url.virtualhost or format_endpoint(check.connect_address, check.connect_port)


def tls_name(check: HttpCheck, url: Url) -> str:
    """The server name for the TLS handshake; empty: none is sent."""
    return check.server_name or (url.virtualhost.rpartition(":")[0] or url.virtualhost) * check.sni_from_host


def request(url: Url, host: str, version: HttpVersion) -> bytes:
    """The bytes of the GET, in keepalived's order of lines."""
    number = "1.1" if version is HttpVersion.V1_1 else "1.0"
    close = "" if version is HttpVersion.V1_0 else "Connection: close\r\n"
    fields = f"User-Agent: Pointsman\r\n{close}Host: {host}\r\n"
    text = f"GET {url.path} HTTP/{number}\r\n{fields}\r\n"
    return text.encode("utf-8", "surrogateescape")


class AnswerReader:
    """Takes the bytes of one answer as they come; keeps no more of them than is wanted."""

    def __init__(self, keep_body: bool) -> None:
        self._keep = MOST_KEPT if keep_body else 0
        self._head = b""
        self._interim: list[int] = []
        """Status of each interim answer that has come (RFC 9110 section 15.2)."""
        self._status = 0
        self._left: int | None = None
        """Bytes of the body, or of the present chunk, that are to come; None: until the end."""
        self._chunks: _Chunks | None = None
        self._length = 0
        self._hash = hashlib.md5(usedforsecurity=False)
        self._body = bytearray()
        self.done = False
        """Whether the answer is complete although the connection is open."""

    def feed(self, data: bytes) -> None:
        """Bytes from the real server. Raises BadAnswerError."""
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
        """The answer, once it is complete or the connection has ended. Raises BadAnswerError."""
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
    """The transfer coding `chunked` (RFC 9112 section 7.1), undone."""

    def __init__(self) -> None:
        self._line = b""
        self._left = 0
        self._trailer = False
        self.done = False

    def decode(self, data: bytes) -> bytes:
        """The content of these bytes. Raises BadAnswerError."""
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
        self._left = size + 2 if size else 0  # the line end behind a chunk goes with it
        return rest


def trouble(url: Url, answer: Answer) -> str:
    """Why this answer is a failure; empty: it is what was wanted, but for a regular expression."""
    if not any(low <= answer.status <= high for low, high in url.status):
        return f"status {answer.status} instead of {status_text(url)}"
    if url.digest and answer.digest != url.digest:
        return f"MD5 digest {answer.digest} instead of {url.digest}"
    return ""


def status_text(url: Url) -> str:
    """`200-299 404`."""
    return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in url.status)


def compiled(pattern: Pattern) -> regex.Pattern[bytes]:
    """The expression, ready to search. Raises ValueError when it is none."""
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
    """What stands for ^ and $ where PCRE2 means something else (pcre2pattern(3), "Circumflex and dollar")."""
    if "multiline" not in options:
        return {b"$": rb"\Z"} if "dollar_endonly" in options else {}
    # No line begins behind the last newline of all, unless one asks for it.
    return {} if "alt_circumflex" in options else {b"^": rb"(?:\A|^(?!\Z))"}


def mismatch(pattern: Pattern, expression: regex.Pattern[bytes], body: bytes) -> str:
    """Why the body is not what the pattern wants; empty: it is. Takes at most `MATCH_TIME` seconds."""
    try:
        match = expression.search(body, pattern.min_offset, timeout=MATCH_TIME, concurrent=True)
    except TimeoutError:
        return f"the search for regex {pattern.text!r} took longer than {MATCH_TIME:g} s"
    found = match is not None and match.start() <= _latest(pattern, body)
    if found is pattern.wanted:
        return ""
    return f"regex {pattern.text!r} {'matches' if found else 'does not match'}"


def _latest(pattern: Pattern, body: bytes) -> int:
    """The last byte where a match may start."""
    latest = pattern.max_offset - 1 if pattern.max_offset else len(body)
    first_line = body.find(b"\n", pattern.min_offset) if "firstline" in pattern.options else -1
    return latest if first_line < 0 else min(latest, first_line)


def _header_end(data: bytes) -> tuple[int, int]:
    """Where the empty line is, and how long its line ends are; -1: nowhere yet."""
    found = [(at, len(end)) for end in (b"\r\n\r\n", b"\n\n") if (at := data.find(end)) >= 0]
    return min(found, default=(-1, 0))


def _may_be_http(head: bytes) -> bool:
    return head[:5] == b"HTTP/"[: len(head)]


def _shown(data: bytes) -> str:
    """Bytes of a peer for a log line."""
    return repr(data[:40])[1:]
