# SPDX-License-Identifier: Apache-2.0
"""`pointsman conf`: show the effective configuration, and explain keywords."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import click
import msgspec
from click.shell_completion import CompletionItem

from pointsman.cli.loading import EXIT_ERRORS, exit_code, load_file, print_problems, summary
from pointsman.cli.run import DEFAULT_FILE
from pointsman.cli.wording import columns, visible
from pointsman.conf.keywords.reference import explain, reference, suggestion, words
from pointsman.conf.show.config import show_config as canonical
from pointsman.conf.show.for_keepalived import HIDDEN, hide_passwords, keep_keepalived_words
from pointsman.conf.text.problems import ConfError


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
    from pointsman.cli.mending import ask, problems_of, write_file
    from pointsman.conf.mend import mend as mended
    from pointsman.daemon.runtime.read_file import DiskReader

    found = mended(DiskReader(), lambda reader: problems_of(reader, file, config_id), ask)
    for line in found.diff:
        click.echo(visible(line))
    if write:
        for name, text in found.files.items():
            write_file(Path(name), text)
    print_problems(found.left, err=True)
    state = "nothing to mend"
    if found.files:
        state = "written" if write else "not written; --write does it"
    click.echo(f"{file}: {state}; left: {summary(found.left)}", err=True)
    sys.exit(exit_code(found.left))


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words() if word.startswith(incomplete)]


@conf.command("help", short_help="Explain a keyword.")
@click.argument("word", required=False, shell_complete=_complete)
@click.option("--all", "everything", is_flag=True, help="Print the reference of all keywords, in Markdown.")
def help_(word: str | None, everything: bool) -> None:
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
    elif text := explain(word):
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
