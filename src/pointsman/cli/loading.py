# SPDX-License-Identifier: Apache-2.0
"""Read configuration files for the verbs, and print their problems."""

from __future__ import annotations

import gc
import os
import socket
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from pointsman.cli.wording import columns, visible
from pointsman.conf.check.empty_config import check_not_empty
from pointsman.conf.check.programs import Program, check_programs
from pointsman.conf.load import ExtraCheck, Loaded, load
from pointsman.conf.text.problems import ConfError, Findings, Problem, Severity
from pointsman.daemon.runtime.ownership import find_weakness
from pointsman.daemon.runtime.read_file import DiskReader
from pointsman.model.config import Config
from pointsman.model.decoding import without_collector
from pointsman.model.wording import count

EXIT_WARNINGS = 1
EXIT_ERRORS = 2

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


STANDARD_INPUT = "-"
"""File name for standard input, on the command line."""


def load_file(path: Path, config_id: str | None = None, more: Iterable[ExtraCheck] = ()) -> Loaded:
    """Load the configuration of a file (`-`: standard input), and check the programs that it names.

    Raises ConfError.
    """
    host_name = socket.gethostname() or "localhost"

    reader = DiskReader(STANDARD_INPUT)

    def inspect(program: str) -> Program | None:
        try:
            return reader.ask(program, lambda: inspect_program(program))
        except TimeoutError:
            return None

    def programs(config: Config, findings: Findings) -> None:
        check_programs(config, inspect, findings)

    checks = (programs, check_not_empty, *more)
    with without_collector():
        loaded = load(reader, str(path), host_name, config_id, checks, os.environ)
    gc.freeze()
    return loaded


def inspect_program(path: str) -> Program | None:
    """Return what the file system says about a program; None if there is no such file."""
    file = Path(path)
    if not file.is_file():
        return None
    weakness = find_weakness(file)
    return Program(os.access(file, os.X_OK), str(weakness.place) if weakness else "")


def load_or_exit(path: Path, config_id: str | None = None) -> Config:
    """Load the configuration of a file and print its problems to standard error. Exit with 2 on an error."""
    try:
        loaded = load_file(path, config_id)
    except ConfError as error:
        print_problems(error.problems, err=True)
        click.echo(f"{path}: {summary(error.problems)}; nothing was changed", err=True)
        sys.exit(EXIT_ERRORS)
    print_problems([each for each in loaded.problems if each.severity is not Severity.NOTE], err=True)
    return loaded.config


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

    Colour is used on a terminal only.
    """
    alike: dict[tuple[Severity, str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.severity, problem.text, problem.remedy), []).append(problem)
    for group in alike.values():
        for line in _lines(group):
            click.echo(line, err=err)
        click.echo("", err=err)


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
    others = [each.location for each in group[1:] if each.location is not None]
    if others:
        listed = ", ".join(str(each.line) for each in others[:20])
        more = f" and {len(others) - 20} more" if len(others) > 20 else ""
        yield from _wrapped("  ", f"also in line{'s' if len(others) > 1 else ''} {listed}{more}")
    if problem.remedy:
        yield from _wrapped("  -> ", problem.remedy)


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
