# SPDX-License-Identifier: Apache-2.0
"""Definitions (`$NAME=value`) and their uses (`$NAME`, `${NAME}`).

A definition is expanded where it is used. Its value may span lines.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from pointsman.conf.text.problems import Findings
from pointsman.conf.text.sequences import START
from pointsman.conf.text.source import MAX_LINE, Chunk, Line

MAX_STEPS = 1000
"""Limit of replacements in one line. It ends definitions that name each other."""

MAX_LINES = 10_000
"""Limit of lines that one line may expand to."""

_DEFINITION = re.compile(r"\s*\$([A-Za-z_]\w*)=(.*)$", re.ASCII)
_USE = re.compile(r"\$(?:\{([A-Za-z_]\w*)([^}]*)\}|([A-Za-z_]\w*)(?=\s|$))", re.ASCII)
_INSTANCE = re.compile(r"\s*instance\s+(\S+)\s*$", re.ASCII)
_COMPUTED = ("_RANDOM", "_ENV")
_EMPTY: Mapping[str, str] = {}


class Definitions:
    """The definitions found so far."""

    def __init__(
        self, findings: Findings, host_name: str = "", environment: Mapping[str, str] = _EMPTY
    ) -> None:
        self._findings = findings
        self._environment = environment
        self._values: dict[str, list[str]] = {"_HASH": ["#"], "_BANG": ["!"], "_INSTANCE": [""]}
        self._random = zlib.crc32(host_name.encode())
        """The last random number. The sequence is the same in each run, and differs from host to host."""
        self._places: dict[str, str] = {}

    def collect(self, pieces: Iterable[Line | Chunk]) -> Iterator[Line | Chunk]:
        """Store the definitions in `pieces`; yield all other pieces."""
        rest = iter(pieces)
        for piece in rest:
            found = _DEFINITION.match(piece.text) if isinstance(piece, Line) and "$" in piece.text else None
            if found is None or isinstance(piece, Chunk):
                if isinstance(piece, Line) and (named := _INSTANCE.match(piece.text)):
                    self._values["_INSTANCE"] = [named[1]]
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
                    self._findings.error(
                        place, f"the last line of ${found[1]} ends with \\, but no line follows"
                    )
                    break
                value.append(following.text.strip())
            self._values[found[1]] = value
            self._places[found[1]] = f"${found[1]}, defined at {piece.file}:{piece.number}"

    def expand(self, line: Line) -> Iterator[Line]:
        """Yield `line` with each use replaced by its value. A value of several lines yields several."""
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
            pieces = self._replace_use(current, found)
            start = found.start() if len(pieces) == 1 else 0
            if steps > MAX_STEPS or produced + len(waiting) > MAX_LINES or len(pieces[0].text) > MAX_LINE:
                place = current.at(found.start())
                self._findings.error(
                    place,
                    f"{found[0]} never stops expanding, or expands to more than {MAX_LINE} bytes",
                    "look for definitions that name each other",
                )
                return
            waiting += reversed(pieces)

    def _next_use(self, line: Line, start: int) -> re.Match[str] | None:
        for found in _USE.finditer(line.text, start):
            name = found[1] or found[3]
            if name in self._values or name == "_PWD" or (name in _COMPUTED and found[1]):
                return found
            if found[1] and not START.search(line.text) and line.text.count('"', 0, found.start()) % 2 == 0:
                self._report_undefined(line, found)
        return None

    def _report_undefined(self, line: Line, found: re.Match[str]) -> None:
        name = found[1]
        text, remedy = f"${{{name}}} is not defined", f"add a line ${name}=... before this one"
        self._findings.error(line.at(found.start()), text, remedy, width=len(found[0]))

    def _replace_use(self, line: Line, found: re.Match[str]) -> list[Line]:
        name = found[1] or found[3]
        if name == "_PWD":
            values = [str(PurePosixPath(line.file).parent)]
        elif name in _COMPUTED:
            values = [self._compute(name, found[2].split(), line, found)]
        else:
            values = self._values[name]
        through = self._places.get(name, f"${{{name}}}")
        pieces = [line.replacement(found.start(), text, through) for text in values]
        pieces[0] = line.cut(0, found.start()).followed_by(pieces[0])
        pieces[-1] = pieces[-1].followed_by(line.cut(found.end()))
        return pieces

    def _compute(self, name: str, words: list[str], line: Line, found: re.Match[str]) -> str:
        """Return the value of `${_RANDOM [min [max]]}` (default: 0 to 32767) or `${_ENV VARIABLE}`."""
        place = line.at(found.start())
        if name == "_ENV":
            variable = words[0] if len(words) == 1 else ""
            if variable in self._environment:
                return self._environment[variable].replace("\n", " ")[:MAX_LINE]
            text = (
                f"{variable} is not in the environment"
                if variable
                else "${_ENV} needs the name of a variable"
            )
            self._findings.error(
                place, text, f"set {variable}, or write the value" if variable else "", len(found[0])
            )
            return ""
        if len(words) > 2 or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
            self._findings.error(place, "${_RANDOM} takes at most two numbers", width=len(found[0]))
            return ""
        low, high = [*map(int, words), 0, 32767][:2] if len(words) != 1 else (int(words[0]), 32767)
        if low > high:
            self._findings.error(place, f"there is no number from {low} to {high}", width=len(found[0]))
            return ""
        self._random = zlib.crc32(self._random.to_bytes(4))
        return str(low + self._random % (high - low + 1))
