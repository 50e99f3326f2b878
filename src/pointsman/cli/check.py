"""`pointsman check`: every mistake of a configuration at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from pointsman.cli.loading import EXIT_ERRORS, EXIT_WARNINGS, load_file, print_problems, summary
from pointsman.cli.run import DEFAULT_FILE
from pointsman.conf.problems import ConfError, Problem, Severity


@click.command()
@click.option(
    "-f",
    "--use-file",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="keepalived.conf to check.",
)
@click.option("-i", "--config-id", help="Decides about lines with @id. [default: the short host name]")
@click.option("--strict", is_flag=True, help="Warnings make the exit code 1.")
@click.option("--json", "as_json", is_flag=True, help="All problems as JSON.")
def check(file: Path, config_id: str | None, strict: bool, as_json: bool) -> None:
    """Find every mistake in a keepalived.conf at once: words, values, and what cannot work.

    Needs neither root nor the interfaces, and changes nothing.

    Exit codes: 0 the director would run with it; 1 there are warnings (only with --strict); 2 errors.
    """
    try:
        problems = load_file(file, config_id).problems
        code = EXIT_WARNINGS if strict and _has(problems, Severity.WARNING) else 0
    except ConfError as error:
        problems, code = error.problems, EXIT_ERRORS
    if as_json:
        click.echo(_json(file, problems))
    else:
        print_problems(problems)
        click.echo(f"{file}: {summary(problems)}")
    sys.exit(code)


def _has(problems: Sequence[Problem], severity: Severity) -> bool:
    return any(problem.severity is severity for problem in problems)


def _json(file: Path, problems: Sequence[Problem]) -> str:
    counts = {f"{kind.value}s": sum(each.severity is kind for each in problems) for kind in Severity}
    document = {"file": str(file), **counts, "problems": problems}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
