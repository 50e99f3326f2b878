"""What is wrong with a configuration: located, with a remedy, collected rather than raised one at a time."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pointsman.model.location import Location

if TYPE_CHECKING:
    from pointsman.conf.text.source import Sources

MAX_PROBLEMS = 500
"""After so many errors reading stops, after so many warnings and notes the others are only counted."""


MAX_SEARCHED = 1000
"""Lines of a block in which the place of a word is looked for."""

_TOKEN = re.compile(r'[{}]|"[^"]*"?|[^\s{}"]+')


class Place(NamedTuple):
    """Where a problem is, and how many characters are meant."""

    location: Location | None
    width: int


def _is_word(token: str, wanted: str) -> bool:
    """Whether a word of a file is this one, perhaps with a prefix length or arguments; all are no word."""
    text = token.strip('"')
    return text == wanted or text.startswith((f"{wanted}/", f"{wanted} ")) or not wanted


class Severity(enum.Enum):
    """ERROR: the configuration is refused. WARNING: it runs, look at it. NOTE: a word without effect here."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding about a configuration."""

    severity: Severity
    text: str
    """The cause."""
    remedy: str = ""
    """What to do; empty when the cause says it."""
    location: Location | None = None
    width: int = 1
    """Characters from `location` on that are meant."""
    excerpt: str = ""
    """The line as it stands in the file."""
    origin: tuple[str, ...] = ()
    """How the text got there: through which definition, and which includes, from the inside out."""

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place}{self.severity.value}: {self.text}{remedy}"


class ConfError(Exception):
    """A configuration with errors; `problems` holds everything that was found, warnings too."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in self.errors))

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


class TooManyProblemsError(Exception):
    """Raised inside this package to stop reading; it never leaves it."""


class Findings:
    """Collects problems, and knows the lines they are about."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._found: dict[Problem, None] = {}
        self._counts = dict.fromkeys(Severity, 0)
        self.is_unbalanced = False
        """A brace is missing or too many: what stands where, and what is missing, is not known."""

    def error(self, location: Location | None, text: str, remedy: str = "", width: int = 1) -> None:
        self._add(Severity.ERROR, location, text, remedy, width)

    def warning(self, location: Location | None, text: str, remedy: str = "", width: int = 1) -> None:
        self._add(Severity.WARNING, location, text, remedy, width)

    def note(self, location: Location | None, text: str, remedy: str = "", width: int = 1) -> None:
        self._add(Severity.NOTE, location, text, remedy, width)

    @property
    def has_errors(self) -> bool:
        return self._counts[Severity.ERROR] > 0

    @property
    def count(self) -> int:
        """How many problems there are."""
        return sum(self._counts.values())

    def find_place(self, block: Location | None, *words: str) -> Place:
        """Where words stand, one behind the other, in the block that begins at a place.

        As far as they are seen there: it is the block itself when the first one is not, as when it comes from
        a definition or from another file.
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

    def problems(self) -> tuple[Problem, ...]:
        """Everything found, in the order of the files' lines; what was only counted comes last."""
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

    def _add(self, severity: Severity, location: Location | None, text: str, remedy: str, width: int) -> None:
        problem = Problem(
            severity=severity,
            text=text,
            remedy=remedy,
            location=location,
            width=width,
            excerpt=self._excerpt(location),
            origin=self._origin(location),
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
