"""Where text comes from: a reader that the shell hands in, and files cut into lines within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pointsman.conf.problems import Findings
from pointsman.model.location import Location

MAX_BYTES = 64 * 1024 * 1024
"""All files of a configuration together; 10,000 virtual servers with four real servers take about 20 MiB."""

MAX_LINE = 1023
"""Bytes of a line. keepalived ignores longer ones (lib/parser.c, MAXBUF), so nobody can mean them."""

MAX_LINES = 1_000_000
"""Lines of a file; 10,000 virtual servers with four real servers take 600,000."""


class Reader(Protocol):
    """Gives this package, which does no I/O, the files."""

    def read(self, path: str, limit: int) -> bytes:
        """At most `limit` bytes of a file. Raises OSError."""

    def matches(self, pattern: str) -> Sequence[str]:
        """Paths that a glob pattern (with `{a,b}`) names, sorted; empty when there are none."""


class TextReader:
    """A reader of texts in memory: one configuration, or a few that include each other."""

    def __init__(self, files: dict[str, str | bytes]) -> None:
        self._files = files

    def read(self, path: str, limit: int) -> bytes:
        try:
            data = self._files[path]
        except KeyError:
            raise FileNotFoundError(2, "no such file", path) from None
        return (data.encode() if isinstance(data, str) else data)[:limit]

    def matches(self, pattern: str) -> Sequence[str]:
        return [pattern] if pattern in self._files else []


class Line(NamedTuple):
    """A line with the column that each of its characters came from."""

    text: str
    columns: Sequence[int]
    number: int
    file: str

    def at(self, index: int) -> Location:
        """The place of the character `index`; past the end: behind the last one."""
        if index < len(self.columns):
            return Location(self.file, self.number, self.columns[index])
        return Location(self.file, self.number, self.columns[-1] + 1 if self.columns else 1)

    def cut(self, start: int, stop: int | None = None) -> Line:
        """The part between two indexes, columns kept."""
        return Line(self.text[start:stop], self.columns[start:stop], self.number, self.file)

    def followed_by(self, other: Line) -> Line:
        """This line with another one's characters behind it."""
        columns = (*self.columns, *other.columns)
        return Line(self.text + other.text, columns, self.number, self.file)


def split_lines(data: bytes, name: str, sources: dict[str, list[str]], findings: Findings) -> Iterator[Line]:
    """Bytes as lines; what is not text, or too long, becomes an error and an empty line."""
    texts: list[str] = []
    sources[name] = texts
    if data.count(b"\n") > MAX_LINES:
        findings.error(Location(name, 1, 1), f"the file has more than {MAX_LINES} lines", "split it")
        return
    raw = data.split(b"\n")
    if raw[-1] == b"":
        raw.pop()
    for number, piece in enumerate(raw, start=1):
        text = _decode(piece.removesuffix(b"\r"), Location(name, number, 1), texts, findings)
        yield Line(text, range(1, len(text) + 1), number, name)


def _decode(piece: bytes, start: Location, texts: list[str], findings: Findings) -> str:
    if len(piece) > MAX_LINE:
        texts.append(piece[:80].decode(errors="replace") + " ...")
        findings.error(
            start,
            f"the line has {len(piece)} bytes; keepalived ignores lines longer than {MAX_LINE}",
            "break it into several lines",
        )
        return ""
    try:
        text = piece.decode()
    except UnicodeDecodeError as error:
        texts.append(piece.decode(errors="replace"))
        place = Location(start.file, start.line, len(piece[: error.start].decode(errors="replace")) + 1)
        findings.error(
            place,
            f"byte 0x{piece[error.start]:02x} is not UTF-8 text",
            "save the file in UTF-8, or remove it",
        )
        return ""
    texts.append(text.replace("\0", "\N{SYMBOL FOR NULL}"))
    if "\0" in text:
        place = Location(start.file, start.line, text.index("\0") + 1)
        findings.error(place, "a NUL byte; this is not a text file, or it was damaged", "remove it")
        return ""
    return text
