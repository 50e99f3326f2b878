# SPDX-License-Identifier: Apache-2.0
"""`pointsman conf`: show the effective configuration, and explain keywords."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from click.shell_completion import CompletionItem

from pointsman.cli.loading import EXIT_ERRORS, exit_code, load_file, load_from, print_problems, summary
from pointsman.cli.run import DEFAULT_FILE
from pointsman.cli.wording import columns, visible
from pointsman.conf.keywords.reference import explain, reference, suggestion, words
from pointsman.conf.show.config import show_config as canonical
from pointsman.conf.show.text import HIDDEN, hide_passwords, keep_keepalived_words
from pointsman.conf.text.corrections import Edit
from pointsman.conf.text.problems import ConfError, Problem
from pointsman.conf.text.source import FileReader


@click.group()
def conf() -> None:
    """Show the effective configuration, and explain keywords."""


@conf.command(short_help="Print the effective configuration.")
@click.option(
    "-f",
    "--use-file",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="keepalived.conf to show; - is standard input.",
)
@click.option(
    "-i", "--config-id", help="Id that lines with @id are compared with. [default: the short host name]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the place of each item.")
@click.option(
    "--as", "reader", type=click.Choice(["keepalived"]), help="Print only words that keepalived takes."
)
@click.option("--passwords", is_flag=True, help="Print passwords and keys, which are hidden otherwise.")
def show(file: Path, config_id: str | None, as_json: bool, reader: str | None, passwords: bool) -> None:
    """Print the effective configuration as keepalived.conf, with every default filled in.

    Passwords are hidden. With --passwords, the text can be read again and means the same.

    \b
    Exit codes:
      0  printed
      2  the configuration has errors
    """
    try:
        config = load_file(file, config_id, tc=True).config
    except ConfError as error:
        print_problems(error.problems, err=True)
        click.echo(f"{file}: {summary(error.problems)}", err=True)
        sys.exit(EXIT_ERRORS)
    if as_json:
        document = msgspec.to_builtins(config, enc_hook=str, str_keys=True)
        shown = document if passwords else _without_passwords(document)
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
        return
    text = canonical(config)
    if reader == "keepalived":
        text = keep_keepalived_words(text)
    click.echo(text if passwords else hide_passwords(text), nl=False)


def _without_passwords(document: object) -> object:
    """Return a document with asterisks in place of passwords, and of keys of auth_hmac."""
    if isinstance(document, list | tuple):
        return [_without_passwords(each) for each in document]
    if not isinstance(document, dict):
        return document
    secret = ("password", "key") if "number" in document else ("password",)
    return {
        name: HIDDEN if name in secret and value else _without_passwords(value)
        for name, value in document.items()
    }


@conf.command(short_help="Correct the mistakes whose remedy is certain.")
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_FILE)
@click.option("--write", is_flag=True, help="Write the files. Without it, nothing changes.")
@click.option(
    "-i", "--config-id", help="Id that lines with @id are compared with. [default: the short host name]"
)
def mend(file: Path, write: bool, config_id: str | None) -> None:
    """Show a keepalived.conf as it should be: a diff, with the reason of each change.

    It corrects typing errors, old words, values outside their range, words without effect, and writes
    defaults that surprise. keepalived reads the result with the same meaning. Comments and layout stay. Where
    there are several remedies, it asks on a terminal. Included files are mended, too.

    \b
    Exit codes:
      0  check has nothing more to say
      1  warnings are left
      2  errors are left
    """
    from pointsman.conf.mend import mend as mended
    from pointsman.daemon.runtime.read_file import DiskReader

    found = mended(DiskReader(), lambda reader: _problems(reader, file, config_id), _ask)
    for line in found.diff:
        click.echo(visible(line))
    if write:
        for name, text in found.files.items():
            _write_file(Path(name), text)
    print_problems(found.left, err=True)
    state = "nothing to mend"
    if found.files:
        state = "written" if write else "not written; --write does it"
    click.echo(f"{file}: {state}; left: {summary(found.left)}", err=True)
    sys.exit(exit_code(found.left))


def _problems(reader: FileReader, file: Path, config_id: str | None) -> Sequence[Problem]:
    """Return the problems of a file, errors included."""
    try:
        return load_from(reader, file, config_id).problems
    except ConfError as error:
        return error.problems


def _ask(problem: Problem) -> tuple[Edit, ...]:
    """Ask for one of the remedies of a problem. Without a terminal, none is chosen."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ()
    print_problems([problem], err=True)
    for number, choice in enumerate(problem.choices, 1):
        click.echo(f"  {number}  {choice.label}", err=True)
    click.echo("  0  leave it as it is", err=True)
    chosen = click.prompt("choice", type=click.IntRange(0, len(problem.choices)), default=0, err=True)
    return problem.choices[chosen - 1].edits if chosen else ()


def _write_file(file: Path, text: str) -> None:
    """Write a file in one step, with its owner and permissions. Raises OSError."""
    real = file.resolve()
    new = real.with_name(f".{real.name}.mended")
    new.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    shutil.copymode(real, new)
    status = real.stat()
    os.chown(new, status.st_uid, status.st_gid)
    new.replace(real)


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words() if word.startswith(incomplete)]


@conf.command("help", short_help="Explain a keyword.")
@click.argument("word", required=False, shell_complete=_complete)
@click.option("--all", "everything", is_flag=True, help="Print the reference of all keywords, in Markdown.")
@click.option("--source", is_flag=True, help="Also name the module that implements it.")
def help_(word: str | None, everything: bool, source: bool) -> None:
    """Explain a keyword of keepalived.conf: its blocks, value, default, and what it does here.

    Without WORD, list all keywords.

    \b
    Exit codes:
      0  explained
      1  there is no such keyword
    """
    if everything:
        click.echo(reference(), nl=False)
    elif word is None:
        click.echo("\n".join(words()))
    elif text := explain(word, source):
        click.echo("\n".join(map(_folded, text.splitlines())))
    else:
        likely = suggestion(word)
        more = f"; did you mean {likely}?" if likely else ""
        click.echo(f"{word} is no keyword of keepalived.conf{more}", err=True)
        sys.exit(1)


def _folded(line: str) -> str:
    """Fold a line to the terminal; what follows `    value:     ` stays in its column."""
    lead = re.match(r" +\w+: +", line)
    indent = " " * (len(lead[0]) if lead else 4)
    return "\n".join(textwrap.wrap(line, columns(), subsequent_indent=indent, break_long_words=False))
