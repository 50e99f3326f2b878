"""`pointsman conf`: what a configuration comes down to."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from pointsman.cli.loading import EXIT_ERRORS, load_file, print_problems, summary
from pointsman.cli.run import DEFAULT_FILE
from pointsman.conf.problems import ConfError
from pointsman.conf.show import show as canonical


@click.group()
def conf() -> None:
    """Look at a configuration."""


@conf.command()
@click.option(
    "-f",
    "--use-file",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="keepalived.conf to show.",
)
@click.option("-i", "--config-id", help="Decides about lines with @id. [default: the short host name]")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with the place of each item.")
def show(file: Path, config_id: str | None, as_json: bool) -> None:
    """Print the effective configuration, every default filled in, as canonical keepalived.conf.

    Exit codes: 0 printed; 2 the configuration has errors.
    """
    try:
        config = load_file(file, config_id).config
    except ConfError as error:
        print_problems(error.problems, err=True)
        click.echo(f"{file}: {summary(error.problems)}", err=True)
        sys.exit(EXIT_ERRORS)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(config, enc_hook=str), indent=2).decode())
    else:
        click.echo(canonical(config), nl=False)
