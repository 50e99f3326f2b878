# SPDX-License-Identifier: Apache-2.0
"""Problems of a configuration: each has its place, cause and remedy. They are collected, not raised."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pointsman.conf.text.corrections import Choice, Edit
from pointsman.model.location import Location

if TYPE_CHECKING:
    from pointsman.conf.text.source import Sources

MAX_PROBLEMS = 500
"""Limit for each severity. More errors stop the reading. More warnings and notes are only counted."""

MAX_SEARCHED = 1000
"""Limit of lines in which the place of a word is searched."""

_TOKEN = re.compile(r'[{}]|"[^"]*"?|[^\s{}"]+')


class Place(NamedTuple):
    """The place of a problem, and its width in characters."""

    location: Location | None
    width: int


def _is_word(token: str, wanted: str) -> bool:
    """True if the token is this word, with or without prefix length or arguments. "" matches all."""
    text = token.strip('"')
    return text == wanted or text.startswith((f"{wanted}/", f"{wanted} ")) or not wanted


class Severity(enum.Enum):
    """ERROR: the configuration is refused. WARNING: probably a mistake. NOTE: a keyword without effect."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding about a configuration."""

    severity: Severity
    text: str
    """The cause."""
    remedy: str = ""
    """The way out; empty if the cause says it."""
    location: Location | None = None
    width: int = 1
    """Number of characters to mark, from `location` on."""
    excerpt: str = ""
    """The line of the file, unchanged."""
    origin: tuple[str, ...] = ()
    """The definition and the includes that the text comes through, innermost first."""
    edits: tuple[Edit, ...] = ()
    """The correction, if there is only one that fits (`pointsman conf mend`)."""
    choices: tuple[Choice, ...] = ()
    """Corrections between which the owner of the file decides."""

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place}{self.severity.value}: {self.text}{remedy}"


class ConfError(Exception):
    """A configuration has errors. `problems` has all problems, warnings included."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in self.errors))

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


class TooManyProblemsError(Exception):
    """Raised to stop the reading. It never leaves this package."""


class Findings:
    """Collector of problems. It adds the lines of the files to them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._found: dict[Problem, None] = {}
        self._counts = dict.fromkeys(Severity, 0)
        self.is_unbalanced = False
        """True if braces do not match. Then no block has a known end."""

    def error(
        self,
        location: Location | None,
        text: str,
        remedy: str = "",
        width: int = 1,
        edits: tuple[Edit, ...] = (),
        choices: tuple[Choice, ...] = (),
    ) -> None:
        self._add(Severity.ERROR, location, text, remedy, width, edits, choices)

    def warning(
        self,
        location: Location | None,
        text: str,
        remedy: str = "",
        width: int = 1,
        edits: tuple[Edit, ...] = (),
        choices: tuple[Choice, ...] = (),
    ) -> None:
        self._add(Severity.WARNING, location, text, remedy, width, edits, choices)

    def note(self, location: Location | None, text: str, remedy: str = "", width: int = 1) -> None:
        self._add(Severity.NOTE, location, text, remedy, width)

    @property
    def has_errors(self) -> bool:
        return self._counts[Severity.ERROR] > 0

    @property
    def count(self) -> int:
        """Number of problems."""
        return sum(self._counts.values())

    def start(self) -> Location | None:
        """Return the first line of the first file; None: it could not be read."""
        return next((Location(name, 1, 1) for name in self._sources), None)

    def find_place(self, block: Location | None, *words: str) -> Place:
        """Return the place of the last of `words`, searched in order in the block that begins at `block`.

        Return the place of the last word that is found if a word is missing, for instance because it comes
        from a definition or another file. Return the block's own place if none is found.
        """
        source = self._sources.get(block.file) if block else None
        if block is None or source is None:
            return Place(block, 1)
        found, wanted, depth = Place(block, 1), ("", *words), 0
        for number in range(block.line, block.line + MAX_SEARCHED):
            start = block.column - 1 if number == block.line else 0
            for token in _TOKEN.finditer(source.line(number), start):
                if token[0][0] in "#!":
                    break
                depth += (token[0] == "{") - (token[0] == "}")
                if token[0] == "}" and depth <= 0:
                    return found
                if _is_word(token[0], wanted[0]):
                    place = Location(block.file, number, token.start() + 1)
                    found, wanted = Place(place, len(token[0])), wanted[1:]
                    if not wanted:
                        return found
        return found

    def has_error_in(self, block: Location | None) -> bool:
        """True if there is an error in the block that begins at `block`.

        Then what is missing in the block may be what could not be read.
        """
        if block is None or not self.has_errors:
            return False
        lines = [
            problem.location.line
            for problem in self._found
            if problem.severity is Severity.ERROR
            and problem.location is not None
            and problem.location.file == block.file
            and problem.location.line >= block.line
        ]
        return bool(lines) and min(lines) <= self._end(block)

    def _end(self, block: Location) -> int:
        """Return the last line of the block that begins at `block`."""
        source, depth = self._sources.get(block.file), 0
        if source is None:
            return block.line
        for number in range(block.line, block.line + MAX_SEARCHED):
            start = block.column - 1 if number == block.line else 0
            for token in _TOKEN.finditer(source.line(number), start):
                if token[0][0] in "#!":
                    break
                depth += (token[0] == "{") - (token[0] == "}")
                if token[0] == "}" and depth <= 0:
                    return number
        return block.line + MAX_SEARCHED

    def problems(self) -> tuple[Problem, ...]:
        """Return all problems in the order of files and lines. Numbers of unlisted ones come last."""
        order = {name: number for number, name in enumerate(self._sources)}

        def place(problem: Problem) -> tuple[int, int, int]:
            where = problem.location
            return (order.get(where.file, -1), where.line, where.column) if where else (-1, 0, 0)

        more = [
            Problem(severity=severity, text=f"{count - MAX_PROBLEMS} more like these are not shown")
            for severity, count in self._counts.items()
            if count > MAX_PROBLEMS
        ]
        return (*sorted(self._found, key=place), *more)

    def _add(
        self,
        severity: Severity,
        location: Location | None,
        text: str,
        remedy: str,
        width: int,
        edits: tuple[Edit, ...] = (),
        choices: tuple[Choice, ...] = (),
    ) -> None:
        problem = Problem(
            severity=severity,
            text=text,
            remedy=remedy,
            location=location,
            width=width,
            excerpt=self._excerpt(location),
            origin=self._origin(location),
            edits=edits,
            choices=choices,
        )
        if problem in self._found:
            return
        self._counts[severity] += 1
        if self._counts[severity] <= MAX_PROBLEMS:
            self._found[problem] = None
        elif severity is Severity.ERROR:
            raise TooManyProblemsError

    def _excerpt(self, location: Location | None) -> str:
        source = self._sources.get(location.file) if location else None
        return source.line(location.line) if location and source else ""

    def _origin(self, location: Location | None) -> tuple[str, ...]:
        found = [f"through {location.through}"] if location and location.through else []
        while location is not None and (source := self._sources.get(location.file)) is not None:
            location = source.included_at
            if location is not None:
                found.append(f"included at {location}")
        return tuple(found)
