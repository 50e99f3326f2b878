"""`$NAME=value` and its use, `$NAME` or `${NAME}`: expanded where it is used, values may span lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from pointsman.conf.problems import Findings
from pointsman.conf.source import MAX_LINE, Chunk, Line

MAX_STEPS = 1000
"""Replacements in one line, so that definitions that name each other come to an end."""

MAX_LINES = 10_000
"""Lines that one use of definitions may grow into."""

_DEFINITION = re.compile(r"\s*\$([A-Za-z_]\w*)=(.*)$", re.ASCII)
_USE = re.compile(r"\$(?:\{([A-Za-z_]\w*)([^}]*)\}|([A-Za-z_]\w*)(?=\s|$))", re.ASCII)


class Definitions:
    """The definitions seen so far."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._values: dict[str, list[str]] = {"_HASH": ["#"], "_BANG": ["!"]}
        self._places: dict[str, str] = {}

    def collect(self, pieces: Iterable[Line | Chunk]) -> Iterator[Line | Chunk]:
        """Take the definitions out of `pieces`; the others come back."""
        rest = iter(pieces)
        for piece in rest:
            found = _DEFINITION.match(piece.text) if isinstance(piece, Line) and "$" in piece.text else None
            if found is None or isinstance(piece, Chunk):
                yield piece
                continue
            value = [found[2].strip()]
            while value[-1].endswith("\\"):
                value[-1] = value[-1][:-1].rstrip()
                following = next(rest, None)
                if isinstance(following, Chunk):
                    rest = itertools.chain(following.lines(self._findings), rest)
                    following = next(rest, None)
                if not isinstance(following, Line):
                    place = piece.at(found.start(1) - 1)
                    self._findings.error(place, f"${found[1]} ends with a line to be continued")
                    break
                value.append(following.text.strip())
            self._values[found[1]] = value
            self._places[found[1]] = f"${found[1]}, defined at {piece.file}:{piece.number}"

    def expand(self, line: Line) -> Iterator[Line]:
        """`line` with every use replaced by the value; several lines when the value has several."""
        steps = produced = 0
        start = 0
        waiting = [line]
        while waiting:
            current = waiting.pop()
            found = self._next_use(current, start)
            if found is None:
                produced += 1
                start = 0
                yield current
                continue
            steps += 1
            pieces = self._replaced(current, found)
            start = found.start() if len(pieces) == 1 else 0
            if steps > MAX_STEPS or produced + len(waiting) > MAX_LINES or len(pieces[0].text) > MAX_LINE:
                place = current.at(found.start())
                self._findings.error(
                    place,
                    f"{found[0]} expands without end, or to more than {MAX_LINE} bytes",
                    "look for definitions that name each other",
                )
                return
            waiting += reversed(pieces)

    def _next_use(self, line: Line, start: int) -> re.Match[str] | None:
        for found in _USE.finditer(line.text, start):
            name = found[1] or found[3]
            if name in self._values or name == "_PWD":
                return found
            if found[1] and line.text.count('"', 0, found.start()) % 2 == 0:
                self._undefined(line, found)
        return None

    def _undefined(self, line: Line, found: re.Match[str]) -> None:
        name = found[1]
        if name in ("_RANDOM", "_ENV", "_INSTANCE"):
            text, remedy = f"${{{name}}} is not supported here", "write the value itself"
        else:
            text, remedy = f"${{{name}}} is not defined", f"add a line ${name}=... before this one"
        self._findings.error(line.at(found.start()), text, remedy, width=len(found[0]))

    def _replaced(self, line: Line, found: re.Match[str]) -> list[Line]:
        name = found[1] or found[3]
        values = [str(PurePosixPath(line.file).parent)] if name == "_PWD" else self._values[name]
        through = self._places.get(name, f"${{{name}}}")
        pieces = [line.standing_for(found.start(), text, through) for text in values]
        pieces[0] = line.cut(0, found.start()).followed_by(pieces[0])
        pieces[-1] = pieces[-1].followed_by(line.cut(found.end()))
        return pieces
