"""How errors are told: who says it, what is wrong, and without the operating system's numbers."""

from __future__ import annotations

import sys
from typing import NoReturn

import click


def said(error: OSError) -> str:
    """`/tmp/x: Permission denied`, without the error's number."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror


def complain(why: str) -> None:
    """Say on standard error what is wrong, as the verb that is running: `pointsman drain: ...`."""
    context = click.get_current_context(silent=True)
    while context and context.parent and context.parent.parent:
        context = context.parent
    speaker = f"pointsman {context.info_name}" if context else "pointsman"
    click.echo(f"{speaker}: {why}", err=True)


def fail(why: str, code: int = 1) -> NoReturn:
    """Complain, and end with this exit code."""
    complain(why)
    sys.exit(code)
