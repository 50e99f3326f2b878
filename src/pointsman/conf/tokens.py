"""Words and braces of a line. Words end at blanks, quotes and braces; `"..."` is one word (lib/parser.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pointsman.conf.problems import Findings
from pointsman.conf.source import Line
from pointsman.model.location import Location

OPEN, CLOSE = "{", "}"

_BRACE = re.compile(r"[{}]")
_PLAIN = re.compile(r"\S+", re.ASCII)
_ANY = re.compile(r'[{}]|"[^"]*"|"|[^\s{}"]+', re.ASCII)


class Word:
    """A word of the file and where it stands."""

    __slots__ = ("_index", "_line", "quoted", "text")

    def __init__(self, text: str, line: Line, index: int, quoted: bool = False) -> None:
        self.text = text
        self.quoted = quoted
        self._line = line
        self._index = index

    @property
    def location(self) -> Location:
        return self._line.at(self._index)

    @property
    def width(self) -> int:
        """Characters it takes in the file, quotes included."""
        return len(self.text) + 2 * self.quoted

    @property
    def brace(self) -> str:
        """`{`, `}` or nothing."""
        return self.text if self.text in (OPEN, CLOSE) and not self.quoted else ""

    def __repr__(self) -> str:
        return f"Word({self.text!r}, {self.location})"


def braces(text: str) -> Iterator[tuple[int, str]]:
    """The braces of a line that are not inside quotes, and where they are."""
    if '"' not in text:
        yield from ((found.start(), found[0]) for found in _BRACE.finditer(text))
        return
    for found in _ANY.finditer(text):
        if found[0] == '"':
            return
        if found[0] in (OPEN, CLOSE):
            yield found.start(), found[0]


def tokens(line: Line, findings: Findings) -> Iterator[Word]:
    """The words and braces of one line, in order; a quote that is never closed is an error."""
    text = line.text
    if '"' not in text and OPEN not in text and CLOSE not in text:
        for found in _PLAIN.finditer(text):
            yield Word(found[0], line, found.start())
        return
    for found in _ANY.finditer(text):
        piece = found[0]
        if piece == '"':
            findings.error(line.at(found.start()), "this quote is never closed", 'write the closing "')
            yield Word(text[found.end() :].rstrip(), line, found.start(), quoted=True)
            return
        if piece[0] == '"':
            yield Word(piece[1:-1], line, found.start(), quoted=True)
        else:
            yield Word(piece, line, found.start())
