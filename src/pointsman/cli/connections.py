# SPDX-License-Identifier: Apache-2.0
"""`pointsman connections`: list, count, export and import connections and persistence templates."""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from pointsman.cli.ipvsadm import ask_director
from pointsman.cli.realserver.serve import read_secret
from pointsman.cli.wording import fail, said
from pointsman.control.client import ControlError, ProtocolError
from pointsman.control.client_messages import TableReply, TableRequest
from pointsman.control.paths import pin_directory
from pointsman.daemon.sync.real_servers import ask_all, targets_of
from pointsman.dataplane.interface import DataPlaneError, RecordExchange, TakeCounts
from pointsman.dataplane.xdp.kernel.abi import read_object
from pointsman.dataplane.xdp.records.exchange import Lane, OpenExchange
from pointsman.model.address import Address, format_endpoint
from pointsman.packets.record import RECORD_SIZE, RECORD_VERSION, Record, RecordFlag, decode
from pointsman.realserver.facts import SetupError
from pointsman.realserver.serve import PORT
from pointsman.sync.ask import key_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HEADER = b"pointsman connections %d\n" % RECORD_VERSION
"""First line of an exported file. Records follow it."""
_PAGE = 1024 * RECORD_SIZE
_PROTOCOLS = {socket.IPPROTO_TCP: "TCP", socket.IPPROTO_UDP: "UDP", 132: "SCTP"}


class Filter(msgspec.Struct, frozen=True):
    """Conditions that a connection must all meet. None: every connection does."""

    client: Network | None = None
    server: tuple[Address, int | None] | None = None
    service: tuple[Address, int | None] | int | None = None
    """An address with or without port, or a firewall mark."""
    state: str | None = None

    def __call__(self, record: Record, state: str) -> bool:
        """True if the connection is wanted."""
        if self.client is not None and record.client not in self.client:
            return False
        if self.server is not None and not _matches(self.server, record.server, record.server_port):
            return False
        if isinstance(self.service, int):
            if record.fwmark != self.service:
                return False
        elif self.service is not None and not _matches(self.service, record.virtual, record.virtual_port):
            return False
        return self.state is None or state == self.state


def _matches(wanted: tuple[Address, int | None], address: Address, port: int) -> bool:
    return wanted[0] == address and wanted[1] in (None, port)


@contextlib.contextmanager
def open_exchange() -> Iterator[RecordExchange]:
    """Open the director's tables. End the program with a message if that fails."""
    try:
        exchange = OpenExchange(pin_directory(), Lane.COMMAND)
    except DataPlaneError:
        fail("no director's tables of this version are here; start one with `pointsman run`")
    except OSError as error:
        fail(f"cannot open the director's tables: {said(error)}" + ("" if os.geteuid() == 0 else "; be root"))
    with contextlib.closing(exchange):
        yield exchange


def pages(exchange: RecordExchange) -> Iterator[bytes]:
    """Yield all records, a page at a time."""
    cursor = 0
    while True:
        page, cursor = exchange.give(cursor)
        yield page
        if not cursor:
            return


def _found(exchange: RecordExchange, wanted: Filter) -> Iterator[tuple[Record, str]]:
    """Yield the wanted records and the names of their states."""
    names = state_names()
    for page in pages(exchange):
        for start in range(0, len(page), RECORD_SIZE):
            record = decode(page[start : start + RECORD_SIZE])
            state = _state(record, names)
            if wanted(record, state):
                yield record, state


def state_names() -> dict[int, str]:
    """Return the names of the states by their numbers."""
    words, _ = read_object()
    return dict(words.states)


def _state(record: Record, names: dict[int, str]) -> str:
    if record.flags & RecordFlag.TEMPLATE:
        return "ASSURED" if record.flags & RecordFlag.ASSURED else "NONE"
    return names.get(record.state, str(record.state))


def _network(_context: click.Context, _option: click.Parameter, text: str | None) -> Network | None:
    try:
        return None if text is None else ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _endpoint(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[Address, int | None] | None:
    return None if text is None else parse_endpoint(text)


def _service(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> tuple[Address, int | None] | int | None:
    if text is not None and text.isdecimal():
        return int(text)
    return None if text is None else parse_endpoint(text)


def parse_endpoint(text: str) -> tuple[Address, int | None]:
    """Return address and port of ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Raises BadParameter."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]")), None
    address, colon, port = text.rpartition(":")
    with contextlib.suppress(ValueError):
        if colon and port.isdecimal() and int(port) < 1 << 16:
            return ipaddress.ip_address(address.removeprefix("[").removesuffix("]")), int(port)
    raise click.BadParameter(f"{text!r} is no address, and no address with a port")


@click.group(invoke_without_command=True)
@click.option("--client", metavar="NET", callback=_network, help="Only of this client, or network.")
@click.option("--server", metavar="ADDRESS[:PORT]", callback=_endpoint, help="Only to this real server.")
@click.option(
    "--service", metavar="ADDRESS[:PORT]", callback=_service, help="Only of this service; a number is a mark."
)
@click.option("--state", metavar="STATE", help="Only in this state, such as ESTABLISHED.")
@click.option("--count", is_flag=True, help="Count them by real server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object a line.")
@click.pass_context
def connections(
    ctx: click.Context,
    client: Network | None,
    server: tuple[Address, int | None] | None,
    service: tuple[Address, int | None] | int | None,
    state: str | None,
    count: bool,
    as_json: bool,
) -> None:
    """List the connections and persistence templates of this director.

    BY is `here` for a connection that this director carries, and `peer` for one that another director
    carries (connection_sync), or that a real server has told of. ipvsadm's columns are the others.

    \b
    Exit codes:
      0  done
      1  no director's tables are here, or a file cannot be read or written
      2  wrong command line
    """
    if ctx.invoked_subcommand is not None:
        return
    wanted = Filter(client, server, service, None if state is None else state.upper())
    show = _show_counts if count else _show_list
    with open_exchange() as exchange:
        show(_found(exchange, wanted), as_json)


def _show_list(found: Iterator[tuple[Record, str]], as_json: bool) -> None:
    if not as_json:
        click.echo(_LINE.format("PRO", "EXPIRE", "STATE", "BY", "CLIENT", "SERVICE", "SERVER"))
    for record, state in found:
        click.echo(_json(record, state) if as_json else _line(record, state))


_LINE = "{:<4} {:<6} {:<11} {:<4} {:<22} {:<22} {}"


def _line(record: Record, state: str) -> str:
    minutes, seconds = divmod(record.seconds, 60)
    service = format_endpoint(record.virtual, record.virtual_port)
    return _LINE.format(
        _PROTOCOLS.get(record.protocol, "-"),
        f"{minutes:02}:{seconds:02}",
        state,
        _carrier(record),
        format_endpoint(record.client, record.client_port),
        f"FWM {record.fwmark}" if record.fwmark else service,
        format_endpoint(record.server, record.server_port),
    )


def _carrier(record: Record) -> str:
    return "here" if record.flags & RecordFlag.CARRIED else "peer"


def _json(record: Record, state: str) -> str:
    shown = {
        "protocol": _PROTOCOLS.get(record.protocol, ""),
        "client": str(record.client),
        "client_port": record.client_port,
        "virtual": str(record.virtual),
        "virtual_port": record.virtual_port,
        "fwmark": record.fwmark,
        "server": str(record.server),
        "server_port": record.server_port,
        "state": state,
        "seconds": record.seconds,
        "template": bool(record.flags & RecordFlag.TEMPLATE),
        "carried_here": bool(record.flags & RecordFlag.CARRIED),
    }
    return msgspec.json.encode(shown).decode()


def _show_counts(found: Iterator[tuple[Record, str]], as_json: bool) -> None:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for record, _ in found:
        kind = "templates" if record.flags & RecordFlag.TEMPLATE else _carrier(record)
        counts[format_endpoint(record.server, record.server_port)][kind] += 1
    if not as_json:
        click.echo(f"{'SERVER':<30} {'HERE':>9} {'PEER':>9} {'TEMPLATES':>9}")
    for name in sorted(counts):
        numbers = {kind: counts[name][kind] for kind in ("here", "peer", "templates")}
        if as_json:
            click.echo(msgspec.json.encode({"server": name, **numbers}).decode())
        else:
            click.echo(f"{name:<30} {numbers['here']:>9} {numbers['peer']:>9} {numbers['templates']:>9}")


@connections.command(name="export", short_help="Write all connections to a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export_file(file: Path) -> None:
    """Write all connections and templates to FILE; it appears when it is complete."""
    part = file.with_name(f"{file.name}.part")
    total = 0
    with open_exchange() as exchange:
        try:
            with open(part, "wb", opener=partial(os.open, mode=0o600)) as out:
                out.write(HEADER)
                for page in pages(exchange):
                    out.write(page)
                    total += len(page) // RECORD_SIZE
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            fail(f"cannot write: {said(error)}")
    click.echo(f"{total} records")


@connections.command(name="import", short_help="Take the connections of a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def import_file(file: Path) -> None:
    """Take the connections of FILE, except those that this director carries already.

    Services and real servers must be configured here. Expiry goes on from where it was at the export.
    """
    with _opened(file) as source, open_exchange() as exchange:
        counts = TakeCounts()
        while records := source.read(_PAGE):
            whole = len(records) // RECORD_SIZE * RECORD_SIZE
            counts += exchange.take(records[:whole], ours=True)
            if whole < len(records):
                _tell(counts)
                fail(f"{file} ends within a record")
    _tell(counts)


@connections.command(short_help="Ask the real servers for their connections.")
@click.option(
    "--key-file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key file of `pointsman realserver watch --serve`.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Their TCP port."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Wait for so long at most.",
)
def ask(key_file: Path, port: int, seconds: float) -> None:
    """Ask all real servers which connections they hold, and take those that are not known here.

    They must run `pointsman realserver watch --serve`. What this director carries stays as it is.

    \b
    Exit codes:
      0  all real servers have answered
      1  some have not
    """
    try:
        key = key_of(read_secret(key_file))
        table = ask_director(TableRequest())
    except (SetupError, ControlError, ProtocolError) as error:
        fail(str(error))
    if not isinstance(table, TableReply):
        fail("the director does not tell its services")
    questions = targets_of((entry.service.key, entry.servers) for entry in table.table)
    counts = TakeCounts()
    with open_exchange() as exchange:

        def take(records: bytes) -> None:
            nonlocal counts
            counts += exchange.take(records)

        answers = ask_all(questions, key, port, seconds, take)
    for server, answer in answers.items():
        click.echo(f"{server}: " + (answer if isinstance(answer, str) else f"{answer} connections"))
    _tell(counts)
    if any(isinstance(answer, str) for answer in answers.values()):
        raise SystemExit(1)


def _tell(counts: TakeCounts) -> None:
    for name, number in msgspec.structs.asdict(counts).items():
        if number:
            click.echo(f"{number:>9} {name.replace('_', ' ')}")


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        source = file.open("rb")
    except OSError as error:
        fail(f"cannot read: {said(error)}")
    with source:
        if source.read(len(HEADER)) != HEADER:
            fail(f"{file} is no file of connections of version {RECORD_VERSION}")
        yield source
