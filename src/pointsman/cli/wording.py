# SPDX-License-Identifier: Apache-2.0
"""Print errors: the verb, what is wrong, and no error numbers."""

from __future__ import annotations

import shutil
import sys
from typing import NoReturn

import click

_FEWEST_COLUMNS, _MOST_COLUMNS = 40, 100


def said(error: OSError) -> str:
    """Return `FILE: Permission denied`, without the error number."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror


def visible(text: str, keep: str = "") -> str:
    """Replace control characters, which could trick a terminal; keep the number of characters."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else (" " if sign == "\t" else "\N{REPLACEMENT CHARACTER}")
        for sign in text
    )


def columns() -> int:
    """Return the width of the terminal, up to what is easy to read."""
    return min(_MOST_COLUMNS, max(shutil.get_terminal_size((_MOST_COLUMNS, 24)).columns, _FEWEST_COLUMNS))


def complain(why: str) -> None:
    """Print a message to standard error, with the running verb: `pointsman drain: ...`."""
    context = click.get_current_context(silent=True)
    while context and context.parent and context.parent.parent:
        context = context.parent
    speaker = f"pointsman {context.info_name}" if context else "pointsman"
    click.echo(f"{speaker}: {why}", err=True)


def fail(why: str, code: int = 1) -> NoReturn:
    """Print a message to standard error and exit with this code."""
    complain(why)
    sys.exit(code)
