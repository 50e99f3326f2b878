# SPDX-License-Identifier: Apache-2.0
"""Ask, read and write for `pointsman conf mend`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pointsman.cli.loading import load_from, print_problems
from pointsman.conf.text.corrections import Edit
from pointsman.conf.text.problems import ConfError, Problem
from pointsman.conf.text.source import FileReader


def problems_of(reader: FileReader, file: Path, config_id: str | None) -> Sequence[Problem]:
    """Return the problems of a file, errors included."""
    try:
        return load_from(reader, file, config_id).problems
    except ConfError as error:
        return error.problems


def ask(problem: Problem) -> tuple[Edit, ...]:
    """Ask for one of the remedies of a problem. Without a terminal, none is chosen."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ()
    print_problems([problem], err=True)
    for number, choice in enumerate(problem.choices, 1):
        click.echo(f"  {number}  {choice.label}", err=True)
    click.echo("  0  leave it as it is", err=True)
    chosen = click.prompt("choice", type=click.IntRange(0, len(problem.choices)), default=0, err=True)
    return problem.choices[chosen - 1].edits if chosen else ()


def write_file(file: Path, text: str) -> None:
    """Write a file in one step, with its owner and permissions. Raises OSError."""
    real = file.resolve()
    new = real.with_name(f".{real.name}.mended")
    new.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    shutil.copymode(real, new)
    status = real.stat()
    os.chown(new, status.st_uid, status.st_gid)
    new.replace(real)
