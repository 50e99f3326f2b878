# SPDX-License-Identifier: Apache-2.0
"""Files as lines and chunks, within limits. The caller supplies the reader of files."""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pointsman.conf.text.commands import has_command
from pointsman.conf.text.problems import Findings
from pointsman.model.location import Location

MAX_BYTES = 64 * 1024 * 1024
"""Limit of all files together. 10,000 virtual servers with four real servers take about 20 MiB."""

MAX_LINE = 1023
"""Limit of a line in bytes. keepalived ignores longer lines (lib/parser.c, MAXBUF)."""

MAX_LINES = 1_000_000
"""Limit of lines in a file. 10,000 virtual servers with four real servers take 600,000."""


class FileReader(Protocol):
    """Access to files. This package itself does no I/O."""

    def read(self, path: str, limit: int) -> bytes:
        """Return at most `limit` bytes of a file. Raises OSError."""

    def matches(self, pattern: str) -> Sequence[str]:
        """Return the sorted paths that match a glob pattern (with `{a,b}`). Raises OSError."""


class TextReader:
    """Reader of texts in memory, by file name."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = files

    def read(self, path: str, limit: int) -> bytes:
        try:
            data = self._files[path]
        except KeyError:
            raise FileNotFoundError(2, "no such file", path) from None
        return (data.encode() if isinstance(data, str) else data)[:limit]

    def matches(self, pattern: str) -> Sequence[str]:
        return [pattern] if pattern in self._files else []


class Source:
    """A file that was read. Problems show its lines."""

    def __init__(self, data: bytes, included_at: Location | None = None) -> None:
        self.data = data
        self.included_at = included_at
        """Place of the first include of this file. None: it is the main file."""
        self._starts: array[int] | None = None

    def line(self, number: int) -> str:
        """Return the line with this number (from 1) in printable form; empty if there is none."""
        if self._starts is None:
            self._starts = array("L", [0])
            self._starts.extend(found.end() for found in re.finditer(rb"\n", self.data))
        if not 1 <= number <= len(self._starts):
            return ""
        start = self._starts[number - 1]
        end = self.data.find(b"\n", start)
        piece = self.data[start : end if end >= 0 else None].removesuffix(b"\r")
        text = piece if len(piece) <= MAX_LINE else piece[:80] + b" ..."
        return text.decode(errors="replace").replace("\0", "\N{SYMBOL FOR NULL}")


Sources = dict[str, Source]
"""Files by name, in the order in which they were read."""


class Span(NamedTuple):
    """The origin of some characters of a line that differs from its file."""

    stop: int
    """Index after the last character. The span begins where the previous one ends."""
    column: int
    """Column of the first character."""
    step: int
    """1: each character has its own column. 0: all of them replace the text in this column."""
    through: str = ""
    """The definition or sequence that the characters come from."""


class Line(NamedTuple):
    """A line, and the origin of its characters."""

    text: str
    number: int
    file: str
    spans: tuple[Span, ...] = ()
    """Empty: the text is unchanged from the file, from the first column on."""

    def at(self, index: int) -> Location:
        """Return the place of the character `index`. Past the end: the place after the last one."""
        if not self.spans:
            return Location(self.file, self.number, min(index, len(self.text)) + 1)
        start = 0
        for span in self.spans:
            if index < span.stop:
                column = span.column + (index - start) * span.step
                return Location(self.file, self.number, column, span.through)
            start = span.stop
        last = self.spans[-1]
        before = self.spans[-2].stop if len(self.spans) > 1 else 0
        column = last.column + max(1, (last.stop - before) * last.step)
        return Location(self.file, self.number, column, last.through)

    def cut(self, start: int, stop: int | None = None) -> Line:
        """Return the part between two indexes. Its characters keep their places."""
        text = self.text[start:stop]
        if not start and not self.spans:
            return Line(text, self.number, self.file)
        return Line(text, self.number, self.file, tuple(self._between(start, start + len(text))))

    def _between(self, start: int, stop: int) -> Iterator[Span]:
        begin = 0
        for span in self.spans or (Span(len(self.text), 1, 1),):
            first, behind = max(begin, start), min(span.stop, stop)
            if first < behind:
                yield Span(behind - start, span.column + (first - begin) * span.step, span.step, span.through)
            begin = span.stop

    def followed_by(self, other: Line) -> Line:
        """Return this line with the characters of another one after it."""
        here = len(self.text)
        spans = (
            *self._between(0, here),
            *(span._replace(stop=span.stop + here) for span in other._between(0, len(other.text))),
        )
        return Line(self.text + other.text, self.number, self.file, spans)

    def replacement(self, index: int, text: str, through: str) -> Line:
        """Return a text that replaces the character `index` of this line, at the same place."""
        place = self.at(index)
        told = f"{through}, {place.through}" if place.through else through
        return Line(text, self.number, self.file, (Span(len(text), place.column, 0, told),) if text else ())


def strip_comment(line: Line) -> Line:
    """Return the line up to the first `#` or `!` outside `"..."`. `\\#` and `\\!` are plain characters."""
    text = line.text
    if "#" not in text and "!" not in text:
        return line
    parts: list[Line] = []
    command = "\\" in text and has_command(text)
    quoted = False
    start = index = 0
    while index < len(text):
        sign = text[index]
        if sign == '"':
            quoted = not quoted
        elif sign == "\\" and not quoted and text[index + 1 : index + 2] in ("#", "!"):
            parts.append(line.cut(start, index))
            start = index = index + 1
        elif sign == "\\" and command:
            index += 1
        elif sign in "#!" and not quoted:
            break
        index += 1
    rest = line.cut(start, index)
    return functools.reduce(Line.followed_by, [*parts, rest]) if parts else rest


class Chunk:
    """A whole virtual_server block as text. It is parsed later, because there can be thousands.

    All includes, conditions, definitions and sequences in it are already applied.
    """

    __slots__ = ("_data", "_start", "_stop", "altered", "file", "number")

    def __init__(
        self,
        file: str,
        number: int,
        data: bytes,
        start: int,
        stop: int,
        altered: dict[int, Line] | None = None,
    ) -> None:
        self.file = file
        self.number = number
        """Number of its first line."""
        self.altered = altered
        """Lines that differ from the file, by index. None: there are none."""
        self._data = data
        self._start = start
        self._stop = stop

    @classmethod
    def from_lines(cls, lines: list[Line]) -> Chunk:
        """Join lines to a chunk."""
        first = lines[0]
        altered = {
            index: line
            for index, line in enumerate(lines)
            if line.spans or line.number != first.number + index or line.file != first.file
        }
        data = "\n".join(line.text for line in lines).encode()
        return cls(first.file, first.number, data, 0, len(data), altered or None)

    @property
    def text(self) -> bytes:
        return self._data[self._start : self._stop]

    def lines(self, findings: Findings) -> Iterator[Line]:
        """Yield its lines without comments. Problems go to the findings."""
        for index, piece in enumerate(self.text.split(b"\n")):
            altered = self.altered.get(index) if self.altered else None
            yield altered or strip_comment(_decode_line(piece, self.file, self.number + index, findings))


_COMMENT = re.compile(rb"[#!][^\n]*+")
_QUOTED_OR_COMMENT = re.compile(rb'("[^"\n]*+(?:"|$))|[#!][^\n]*+', re.MULTILINE)


def strip_comments(text: bytes) -> bytes:
    """Return the text of a chunk without comments. All else keeps its line."""
    if b"#" not in text and b"!" not in text:
        return text
    return _QUOTED_OR_COMMENT.sub(rb"\1", text) if b'"' in text else _COMMENT.sub(b"", text)


_SPECIAL = rb'{}"$@~\\#!\x00'
_INSIDE = rb'(?>(?:[^%b]++|"[^"\n$~\\\x00]*+"|[#!][^\n\x00]*+)*)' % _SPECIAL


def inside_braces(depth: int) -> bytes:
    """Return a pattern for the text between the braces of a block with `depth` levels of inner blocks."""
    inside = _INSIDE
    for _ in range(depth):
        inside = rb"%b(?>(?:\{%b\}%b)*)" % (_INSIDE, inside, _INSIDE)
    return inside


_CHUNK = re.compile(
    rb"^[ \t]*+virtual_server(?>(?:[ \t]++[^\s%b]++)+)(?>(?:\s++|[#!][^\n\x00]*+)*)"
    rb"\{%b\}[ \t\r]*+(?:[#!][^\n\x00]*+)?$" % (_SPECIAL, inside_braces(4)),
    re.MULTILINE,
)
"""A virtual_server block from its first to its last line, without anything that must be preprocessed.

The pattern is possessive throughout, so that a mismatch is found without backtracking.
"""


def split_file(data: bytes, name: str, findings: Findings) -> Iterator[Line | Chunk]:
    """Yield a file as chunks (plain virtual_server blocks) and lines (all the rest).

    A line that is too long or not text is reported, and becomes an empty line. Empty lines between two chunks
    are left out.
    """
    if data.count(b"\n") > MAX_LINES:
        findings.error(Location(name, 1, 1), f"the file has more than {MAX_LINES} lines", "split it")
        return
    careful = b"include" in data
    ascii_only = data.isascii()
    number, position = 1, 0
    for found in _CHUNK.finditer(data):
        start, stop = found.span()
        piece = data[start:stop] if careful or not ascii_only else b""
        if (careful and b"include" in piece) or not _is_text(piece):
            continue
        if not ((position and data[position:start].isspace()) or position == start):
            yield from _split_lines(data, position, start, name, number, findings)
        number += data.count(b"\n", position, start)
        yield Chunk(name, number, data, start, stop)
        number += data.count(b"\n", start, stop) + 1
        position = stop + 1
    yield from _split_lines(data, position, len(data), name, number, findings)


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split_lines(
    data: bytes, start: int, stop: int, name: str, number: int, findings: Findings
) -> Iterator[Line]:
    while start < stop:
        end = data.find(b"\n", start, stop)
        if end < 0:
            end = stop
        yield _decode_line(data[start:end], name, number, findings)
        start, number = end + 1, number + 1


def _decode_line(piece: bytes, name: str, number: int, findings: Findings) -> Line:
    piece = piece.removesuffix(b"\r")
    try:
        text = piece.decode()
    except UnicodeDecodeError as error:
        if len(piece) <= MAX_LINE:
            findings.error(
                Location(name, number, len(piece[: error.start].decode(errors="replace")) + 1),
                f"byte 0x{piece[error.start]:02x} is not UTF-8 text",
                "save the file in UTF-8, or remove it",
            )
        text = ""
    if len(piece) > MAX_LINE:
        findings.error(
            Location(name, number, 1),
            f"the line has {len(piece)} bytes; keepalived ignores lines longer than {MAX_LINE}",
            "break it into several lines",
        )
        text = ""
    if "\0" in text:
        place = Location(name, number, text.index("\0") + 1)
        findings.error(place, "a NUL byte: this is not a text file, or it is damaged", "remove it")
        text = ""
    return Line(text, number, name)
