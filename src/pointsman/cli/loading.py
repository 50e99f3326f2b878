# SPDX-License-Identifier: Apache-2.0
"""Read configuration files for the verbs, and print their problems."""

from __future__ import annotations

import gc
import os
import re
import socket
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from pointsman.cli.wording import columns, visible
from pointsman.conf.check.empty_config import check_not_empty
from pointsman.conf.check.marks import check_marks
from pointsman.conf.check.programs import Identity, Program, check_programs, with_full_paths
from pointsman.conf.load import ExtraCheck, Loaded, load
from pointsman.conf.text.problems import ConfError, Findings, Problem, Severity
from pointsman.conf.text.source import FileReader
from pointsman.daemon.runtime.ownership import find_weakness
from pointsman.daemon.runtime.read_file import DiskReader
from pointsman.daemon.runtime.run_program import find_identity
from pointsman.model.config import Config
from pointsman.model.decoding import without_collector
from pointsman.model.location import Location
from pointsman.model.wording import count

EXIT_WARNINGS = 1
EXIT_ERRORS = 2

MOST_PLACES = 20
"""Places that are listed of equal problems."""

_NAME = re.compile(r"[^\s,;()]*\d[^\s,;()]*")
"""A word with a digit: an address, a number, most names."""

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


STANDARD_INPUT = "-"
"""File name for standard input, on the command line."""


def load_file(
    path: Path, config_id: str | None = None, more: Iterable[ExtraCheck] = (), *, tc: bool = False
) -> Loaded:
    """Load the configuration of a file (`-`: standard input), and check what it needs of this host.

    `tc`: the data plane is attached behind tc filters, whose marks it sees. Raises ConfError.
    """
    return load_from(DiskReader(STANDARD_INPUT), path, config_id, more, tc=tc)


def load_from(
    reader: FileReader,
    path: Path,
    config_id: str | None = None,
    more: Iterable[ExtraCheck] = (),
    *,
    tc: bool = False,
) -> Loaded:
    """Do the same with another reader of files."""
    host_name = socket.gethostname() or "localhost"
    host = _ProgramHost(DiskReader())

    def programs(config: Config, findings: Findings) -> None:
        check_programs(config, host, findings)

    def marks(config: Config, findings: Findings) -> None:
        check_marks(config, tc, findings)

    checks = (programs, marks, check_not_empty, *more)
    with without_collector():
        loaded = load(reader, str(path), host_name, config_id, checks, os.environ)
        loaded = loaded._replace(config=with_full_paths(loaded.config, host))
    gc.freeze()
    return loaded


class _ProgramHost:
    """Programs and users of this host. A file system that does not answer has no programs."""

    def __init__(self, reader: DiskReader) -> None:
        self._reader = reader
        self.path = os.environ.get("PATH") or os.defpath

    def find(self, name: str) -> str:
        places = (str(Path(folder) / name) for folder in self.path.split(os.pathsep) if folder)
        return next((place for place in places if self.inspect(place) is not None), "")

    def inspect(self, path: str) -> Program | None:
        try:
            return self._reader.ask(path, lambda: inspect_program(path))
        except OSError:
            return None

    def identify(self, user: str, group: str) -> Identity:
        return find_identity(user, group)


def inspect_program(path: str) -> Program | None:
    """Return what the file system says about a program; None if there is no such file."""
    file = Path(path)
    if not file.is_file():
        return None
    weakness, status = find_weakness(file), file.stat()
    return Program(status.st_uid, status.st_gid, status.st_mode, str(weakness.place) if weakness else "")


def load_or_exit(path: Path, config_id: str | None = None, *, tc: bool = False) -> Config:
    """Load the configuration of a file and print its problems to standard error. Exit with 2 on an error.

    `tc`: as in load_file.
    """
    try:
        loaded = load_file(path, config_id, tc=tc)
    except ConfError as error:
        print_problems(error.problems, err=True)
        click.echo(f"{path}: {summary(error.problems)}; nothing was changed", err=True)
        sys.exit(EXIT_ERRORS)
    print_problems([each for each in loaded.problems if each.severity is not Severity.NOTE], err=True)
    return loaded.config


def exit_code(problems: Iterable[Problem]) -> int:
    """Return the exit code for these problems; warnings count."""
    kinds = {problem.severity for problem in problems}
    return EXIT_ERRORS if Severity.ERROR in kinds else EXIT_WARNINGS if Severity.WARNING in kinds else 0


def summary(problems: Iterable[Problem]) -> str:
    """Return `2 errors, 1 warning`, or `no problem found`."""
    found = list(problems)
    parts = []
    for severity in Severity:
        if number := sum(problem.severity is severity for problem in found):
            parts.append(count(number, severity.value))
    return ", ".join(parts) or "no problem found"


def print_problems(problems: Iterable[Problem], err: bool = False) -> None:
    """Print each problem with its line and a caret. Print equal ones once, with the other lines named.

    Warnings and notes are equal if they differ only in names with digits, such as addresses. Colour is used
    on a terminal only.
    """
    alike: dict[tuple[Severity, str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault(_kind(problem), []).append(problem)
    for group in alike.values():
        for line in _lines(group):
            click.echo(line, err=err)
        click.echo("", err=err)


def _kind(problem: Problem) -> tuple[Severity, str, str]:
    if problem.severity is Severity.ERROR:
        return problem.severity, problem.text, problem.remedy
    return problem.severity, _NAME.sub("#", problem.text), _NAME.sub("#", problem.remedy)


def _lines(group: list[Problem]) -> Iterator[str]:
    problem = group[0]
    name = click.style(problem.severity.value, fg=_COLOURS[problem.severity], bold=True)
    place = click.style(f"{problem.location}: ", bold=True) if problem.location else ""
    yield visible(f"{place}{name}:", keep="\x1b")
    yield from _wrapped("  ", problem.text)
    if problem.location is not None and problem.excerpt:
        number = str(problem.location.line)
        excerpt, caret = _window(problem)
        yield f"  {number} | {excerpt}"
        yield f"  {' ' * len(number)} | {click.style(caret, fg=_COLOURS[problem.severity])}"
    for step in problem.origin:
        yield from _wrapped("  ", step)
    if others := [each.location for each in group[1:] if each.location is not None]:
        yield from _wrapped("  ", _format_others(others, problem))
    if problem.remedy:
        yield from _wrapped("  -> ", problem.remedy)


def _format_others(others: Sequence[Location], shown: Problem) -> str:
    """Return the places of equal problems; files are named unless all are in the file of the shown one."""
    places = list(dict.fromkeys(others))
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    if shown.location is not None and all(each.file == shown.location.file for each in places):
        lines = ", ".join(str(each.line) for each in places[:MOST_PLACES])
        return f"also in line{'s' if len(places) > 1 else ''} {lines}{more}"
    return f"also in {', '.join(f'{each.file}:{each.line}' for each in places[:MOST_PLACES])}{more}"


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(
        visible(text),
        columns(),
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
    )


def _window(problem: Problem) -> tuple[str, str]:
    """Return the part of the line around the place, and the caret line below it."""
    assert problem.location is not None
    column = problem.location.column - 1
    room = columns() - len(f"  {problem.location.line} | ")
    start = max(0, column - 3 * room // 5) if len(problem.excerpt) > room else 0
    excerpt = visible(problem.excerpt[start : start + room])
    width = max(1, min(problem.width, len(excerpt) - (column - start)))
    return excerpt, " " * (column - start) + "^" * width
