# SPDX-License-Identifier: Apache-2.0
"""Lines of text with colours for a terminal, for screens of many lines: rich takes 150 us for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

Piece = tuple[str, str]
"""Text and style, a key of START; empty: as the terminal writes."""
Line = list[Piece]

START = {
    "bold red": "\x1b[1;31m",
    "bold green": "\x1b[1;32m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "cyan": "\x1b[36m",
    "dim": "\x1b[2m",
}
"""Select Graphic Rendition (ECMA-48)."""
END = "\x1b[0m"
GAP = ("  ", "")


def plain(line: Line) -> str:
    """Return the text of a line."""
    return "".join([text for text, _ in line])


def coloured(line: Line) -> str:
    """Return a line with its colours, for a terminal."""
    return "".join([f"{START[style]}{text}{END}" if style else text for text, style in line])


def wants_colour() -> bool:
    """Return True if the output is a terminal with colours whose user wants them (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def cut(line: Line, columns: int) -> Line:
    """Return the beginning of a line that fits this number of columns."""
    found: Line = []
    for text, style in line:
        kept = text[:columns] if text.isascii() else _cut_wide(text, columns)
        if kept:
            found.append((kept, style))
        if len(kept) < len(text):
            break
        columns -= len(text) if text.isascii() else _cells(text)
    return found


def _cells(text: str) -> int:
    from rich.cells import cell_len  # not before it is needed: few texts have wide characters

    return cell_len(text)


def _cut_wide(text: str, columns: int) -> str:
    """Return the beginning of a text with characters that can be two columns wide, or none."""
    while text and _cells(text) > columns:
        text = text[:-1]
    return text


def fold(pieces: Iterable[Piece], width: int, indent: int) -> list[Line]:
    """Join pieces with two spaces. What does not fit goes on the next line, behind `indent` spaces.

    A piece that is longer than a line is broken between words. A word that is longer is not broken.
    """
    line: Line = []
    length = -len(GAP[0])
    for piece in (kept := list(pieces)):
        line += (GAP, piece) if line else (piece,)
        length += len(GAP[0]) + len(piece[0])
    return [_without_end(line)] if length <= width else _broken(kept, width, indent)


def _broken(pieces: Iterable[Piece], width: int, indent: int) -> list[Line]:
    """Return pieces that are too long for one line."""
    lines: list[Line] = [[]]
    length = 0
    for text, style in pieces:
        gap = GAP[0] if _has_text(lines[-1]) else ""
        fits_alone = len(text) <= width - indent
        if gap and fits_alone and length + len(gap) + len(text) > width:
            lines.append([(" " * indent, "")])
            gap, length = "", indent
        for number, word in enumerate([text] if fits_alone else text.split(" ")):
            between = " " if number else gap
            if _has_text(lines[-1]) and length + len(between) + len(word) > width:
                lines.append([(" " * indent, "")])
                between, length = "", indent
            lines[-1] += ((between, ""), (word, style)) if between else ((word, style),)
            length += len(between) + len(word)
    return [_without_end(line) for line in lines]


def _has_text(line: Line) -> bool:
    return any(text and not text.isspace() for text, _ in line)


def _without_end(line: Line) -> Line:
    """Remove the spaces at the end of a line."""
    while line and not line[-1][0][-1:].strip():
        text, style = line.pop()
        if text := text.rstrip():
            line.append((text, style))
    return line
