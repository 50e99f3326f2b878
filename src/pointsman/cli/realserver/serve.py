# SPDX-License-Identifier: Apache-2.0
"""Options of `pointsman realserver watch --serve`, and its start."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from pointsman.realserver.facts import SetupError
from pointsman.realserver.serve import PORT, ConnectionServer, Network
from pointsman.sync.ask import key_of
from pointsman.sync.wire import SHORTEST_SECRET

_LARGEST_FILE = 4096


class Serving(msgspec.Struct, frozen=True):
    """Values of the options."""

    wanted: bool
    key_file: Path | None
    directors: tuple[Network, ...]
    port: int
    everywhere: bool


def _network(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def serve_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--serve`, `--key-file`, `--director`, `--port` and `--all-namespaces`."""
    for option in (
        click.option(
            "--all-namespaces",
            "everywhere",
            is_flag=True,
            help="With --serve: tell also of sockets in other network namespaces of this host (containers).",
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=PORT,
            show_default=True,
            help="TCP port of --serve.",
        ),
        click.option(
            "--director",
            "directors",
            metavar="NET",
            multiple=True,
            callback=_network,
            help="Answer only this address or network; may be repeated. [default: everybody with the key]",
        ),
        click.option(
            "--key-file",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The file that connection_sync of the directors names as key_file.",
        ),
        click.option("--serve", is_flag=True, help="Tell directors which connections are open here."),
    ):
        command = option(command)
    return command


def start_server(options: Serving, tell: Callable[[str], None]) -> None:
    """Start to answer, if it is wanted. Raises UsageError, SetupError."""
    if not options.wanted:
        if options.key_file is not None or options.directors:
            raise click.UsageError("--key-file and --director belong to --serve")
        return
    if options.key_file is None:
        raise click.UsageError("--serve needs --key-file: the key_file of connection_sync on the directors")
    secret = read_secret(options.key_file)
    try:
        server = ConnectionServer(key_of(secret), options.directors, tell, options.port, options.everywhere)
    except OSError as error:
        raise SetupError(f"cannot listen on TCP port {options.port}: {error.strerror}") from error
    server.start()
    tell(f"telling directors of connections, TCP port {server.port}")


def read_secret(path: Path) -> bytes:
    """Return the secret. Raises SetupError if there is none that can be used."""
    try:
        with path.open("rb") as file:
            secret = file.read(_LARGEST_FILE).strip()
    except OSError as error:
        raise SetupError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(secret) < SHORTEST_SECRET:
        raise SetupError(
            f"the secret in {path} has fewer than {SHORTEST_SECRET} bytes; copy the directors' key_file"
        )
    return secret
