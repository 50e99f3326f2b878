# SPDX-License-Identifier: Apache-2.0
"""Tokens: words and braces of a line.

A word ends at a blank, quote or brace. `"..."` is one word (keepalived's lib/parser.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pointsman.conf.text.commands import WORD, has_command, unescape
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.source import Line
from pointsman.model.location import Location

OPEN, CLOSE = "{", "}"

_BRACE = re.compile(r"[{}]")
_PLAIN = re.compile(r"\S+", re.ASCII)
_ANY = re.compile(r'[{}]|"[^"]*"|"|[^\s{}"]+', re.ASCII)
_COMMAND = re.compile(rf"[{{}}]|(?:{WORD}|[^\s{{}}\"'\\])+|[\"'\\]", re.ASCII)


class Word:
    """A word of the file, and its place."""

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
        """Number of characters in the file, quotes included."""
        return len(self.text) + 2 * self.quoted

    def __repr__(self) -> str:
        return f"Word({self.text!r}, {self.location})"


class _EscapedWord(Word):
    """A word with the quotes or escapes of a command line."""

    __slots__ = ("_width",)

    def __init__(self, text: str, line: Line, index: int, width: int) -> None:
        super().__init__(text, line, index, quoted=True)
        self._width = width

    @property
    def width(self) -> int:
        return self._width


def _has_quotes(text: str) -> bool:
    """True if the line has a quote or an escape. Few lines have one."""
    return '"' in text or "'" in text or "\\" in text


def find_braces(text: str) -> Iterator[tuple[int, str]]:
    """Yield index and text of each brace outside quotes."""
    command = _has_quotes(text) and has_command(text)
    if '"' not in text and not command:
        yield from ((found.start(), found[0]) for found in _BRACE.finditer(text))
        return
    for found in (_COMMAND if command else _ANY).finditer(text):
        if found[0] == '"' or (command and found[0] in ("'", "\\")):
            return
        if found[0] in (OPEN, CLOSE):
            yield found.start(), found[0]


def tokenize(line: Line, findings: Findings) -> Iterator[Word]:
    """Yield the words and braces of a line. Report a quote that is not closed."""
    text = line.text
    if _has_quotes(text) and has_command(text):
        yield from _tokenize_command(line, findings)
        return
    if '"' not in text and OPEN not in text and CLOSE not in text:
        for found in _PLAIN.finditer(text):
            yield Word(found[0], line, found.start())
        return
    for found in _ANY.finditer(text):
        piece = found[0]
        if piece == '"':
            findings.error(line.at(found.start()), "this quote is not closed", 'write the closing "')
            yield Word(text[found.end() :].rstrip(), line, found.start(), quoted=True)
            return
        if piece[0] == '"':
            yield Word(piece[1:-1], line, found.start(), quoted=True)
        else:
            yield Word(piece, line, found.start())


def _tokenize_command(line: Line, findings: Findings) -> Iterator[Word]:
    """Do the same for a line with a command line."""
    for found in _COMMAND.finditer(line.text):
        piece, start = found[0], found.start()
        if piece in ("'", '"', "\\"):
            what = "there is nothing after this \\" if piece == "\\" else "this quote is not closed"
            findings.error(
                line.at(start), what, "remove it" if piece == "\\" else f"write the closing {piece}"
            )
            yield Word(line.text[found.end() :].rstrip(), line, start, quoted=True)
            return
        if not _has_quotes(piece):
            yield Word(piece, line, start)
            continue
        try:
            yield _EscapedWord(unescape(piece), line, start, len(piece))
        except ValueError as error:
            findings.error(line.at(start), str(error), width=len(piece))
            yield _EscapedWord(piece, line, start, len(piece))
