# SPDX-License-Identifier: Apache-2.0
"""`pointsman ipvsadm`: ipvsadm's arguments, output and exit codes for the director's data plane."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

import click
import msgspec

from pointsman.control.client import ControlError, DirectorNotRunning, ProtocolError, replies, request
from pointsman.control.client_messages import (
    ApplyReply,
    ApplyRequest,
    ErrorReply,
    Reply,
    Request,
    TableReply,
    TableRequest,
)
from pointsman.control.paths import control_socket, pin_directory
from pointsman.control.pinned import pinned_plane, read_table
from pointsman.lvs.ipvsadm import listing
from pointsman.lvs.ipvsadm.arguments import parse
from pointsman.lvs.ipvsadm.commands import (
    Apply,
    Command,
    ConnectionListing,
    DaemonListing,
    Listing,
    Restore,
    Save,
    Show,
    TimeoutListing,
    View,
)
from pointsman.lvs.ipvsadm.errors import (
    NO_SUCH_SERVICE,
    REFUSED_BY_KERNEL,
    CommandError,
    refusal_text,
    try_help,
)
from pointsman.model.address import Address
from pointsman.model.operations import EditService, Operation
from pointsman.model.service import Transport

LINES_AT_ONCE = 1000
"""Lines of `-R` in one request: the director answers it long before the client's limit of time."""

Ask = Callable[[Request], Reply]
AskParts = Callable[[TableRequest], Iterator[Reply]]
Expected = TypeVar("Expected", TableReply, ApplyReply)


class SystemNames:
    """Look up host and service names with this host's resolver and in /etc/services."""

    def address(self, host: str) -> ipaddress.IPv4Address | None:
        return _address_of(host)

    def port(self, service: str, transport: Transport) -> int | None:
        try:
            return socket.getservbyname(service, transport.name.lower())
        except OSError:
            return None

    def host(self, address: Address) -> str | None:
        return _name_of(str(address))

    def service(self, port: int, transport: Transport) -> str | None:
        try:
            return socket.getservbyport(port, transport.name.lower())
        except OSError:
            return None


@functools.cache
def _address_of(host: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        pass
    try:
        return ipaddress.IPv4Address(socket.gethostbyname(host))
    except (OSError, UnicodeError):
        return None


@functools.cache
def _name_of(address: str) -> str | None:
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return None


class Session:
    """Carry out lines of ipvsadm's language. `ask` and `ask_parts` reach the director."""

    def __init__(
        self,
        ask: Ask,
        names: SystemNames,
        stdin: Iterable[str],
        out: TextIO,
        err: TextIO,
        ask_parts: AskParts | None = None,
    ) -> None:
        """Without `ask_parts` a table comes as one reply of `ask`."""
        self._ask = ask
        self._ask_parts = ask_parts or (lambda message: iter((ask(message),)))
        self._names = names
        self._stdin = stdin
        self._out = out
        self._err = err

    def run(self, words: Sequence[str]) -> int:
        """Carry out one line; return ipvsadm's exit code. Raises ControlError, ProtocolError."""
        try:
            command = parse(words, self._names)
            if isinstance(command, Restore):
                return self._restore()
            return self._carry_out(command)
        except CommandError as error:
            self._err.write(f"{error}\n")
            return error.exit_code

    def _carry_out(self, command: Command) -> int:
        match command:
            case Apply(operation):
                return self._apply([operation])
            case Show(text):
                self._out.write(text)
            case Save(numeric):
                self._save(None if numeric else self._names)
            case Listing():
                self._list(command)
            case ConnectionListing():
                entries = self._reply(TableRequest(connections=True, services=False), TableReply).connections
                names = None if command.numeric else self._names
                self._out.write(listing.connections(entries, names, command.engine_data))
            case TimeoutListing():
                self._out.write(listing.timeouts(*self._table(services=False).timeouts))
            case DaemonListing():
                self._table(services=False)
            case Restore():
                raise try_help()
        return 0

    def _list(self, command: Listing) -> None:
        """Format each part of the reply as it comes; what is kept of it are the lines."""
        wants_rates = command.view is View.RATE
        names = None if command.numeric else self._names
        texts: list[listing.Text] = []
        size = 0
        for part in self._parts(TableRequest(service=command.service, rates=wants_rates)):
            size, counters = part.connection_table_size, part.rates if wants_rates else part.counters
            found = listing.service_texts(
                part.table, counters, command.view, names=names, exact=command.exact, sort=command.sort
            )
            texts += (text for text in found if command.service in (None, text[0]))
        if command.service is None:
            self._out.write(listing.first_line(size))
        elif not texts:
            raise CommandError(NO_SUCH_SERVICE, 1)
        self._out.write(listing.HEADINGS[command.view])
        self._out.writelines(listing.in_order(texts, command.sort))

    def _save(self, names: SystemNames | None) -> None:
        texts: list[listing.Text] = []
        for part in self._parts(TableRequest()):
            texts += listing.rule_texts(part.table, names)
        self._out.writelines(listing.in_order(texts))

    def _restore(self) -> int:
        """Carry out lines of standard input up to the first bad one; return the last exit code."""
        waiting: list[Operation] = []
        code = 0
        for line in self._stdin:
            words = line.split()
            if not words:
                continue
            try:
                command = parse(words, self._names)
            except CommandError:
                self._apply(waiting)
                raise
            if isinstance(command, Apply):
                waiting.append(command.operation)
                if len(waiting) > LINES_AT_ONCE:
                    self._apply(waiting[:-1])
                    waiting = waiting[-1:]
                continue
            self._apply(waiting)
            waiting = []
            code = self._carry_out(command)
        self._apply(waiting[:-1])
        return self._apply(waiting[-1:]) if waiting else code

    def _apply(self, operations: list[Operation]) -> int:
        """Send the operations to the director and print the refused ones; return 255 if there are any."""
        if not operations:
            return 0
        asked = self._with_fronts(operations)
        refusals = self._reply(ApplyRequest(asked), ApplyReply).refusals
        for refusal in refusals:
            self._err.write(f"{refusal_text(refusal)}\n")
        return REFUSED_BY_KERNEL if refusals else 0

    def _with_fronts(self, operations: Sequence[Operation]) -> tuple[Operation, ...]:
        """Keep the fronts of firewall-mark services in edits; ipvsadm does not know them."""
        if not any(isinstance(each, EditService) and each.service.key.fwmark for each in operations):
            return tuple(operations)
        fronts = {entry.service.key: entry.service.fronts for entry in self._table().table}
        return tuple(
            EditService(
                msgspec.structs.replace(each.service, fronts=fronts.get(each.service.key, frozenset()))
            )
            if isinstance(each, EditService) and each.service.key.fwmark
            else each
            for each in operations
        )

    def _table(self, services: bool = True) -> TableReply:
        return self._reply(TableRequest(services=services), TableReply)

    def _parts(self, message: TableRequest) -> Iterator[TableReply]:
        """Yield the parts of a table as they come."""
        for reply in self._ask_parts(message):
            yield self._checked(reply, TableReply)

    def _reply(self, message: Request, kind: type[Expected]) -> Expected:
        return self._checked(self._ask(message), kind)

    def _checked(self, reply: Reply, kind: type[Expected]) -> Expected:
        if isinstance(reply, ErrorReply):
            raise CommandError(reply.error, REFUSED_BY_KERNEL)
        if not isinstance(reply, kind):
            raise ProtocolError(f"the director answered with {type(reply).__name__}")
        return reply


def ask_director(message: Request) -> Reply:
    """Return the director's reply. If none runs, read the tables that it left in force.

    Root always reads connections from the tables: there may be millions. Raises ControlError, ProtocolError.
    """
    if isinstance(message, TableRequest) and message.connections and os.geteuid() == 0:
        with contextlib.suppress(OSError):
            return read_table(pinned_plane(), message)
    try:
        return request(message, control_socket())
    except DirectorNotRunning:
        if not isinstance(message, TableRequest):
            raise
        return _left_in_force(message)


def ask_in_parts(message: TableRequest) -> Iterator[Reply]:
    """Yield the parts of the director's table. If none runs, read the tables that it left in force.

    Raises ControlError, ProtocolError.
    """
    try:
        yield from replies(message, control_socket())
    except DirectorNotRunning:
        yield _left_in_force(message)


def _left_in_force(message: TableRequest) -> Reply:
    if not pin_directory().is_dir():
        raise DirectorNotRunning(control_socket())
    try:
        return read_table(pinned_plane(), message)
    except OSError as error:
        raise ControlError(
            f"no director is running here, and its tables at {pin_directory()} cannot be read: {error};"
            " start one with `pointsman run`"
        ) from error


class RawCommand(click.Command):
    """A command that gets its arguments unparsed, also `-h` and `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


@click.command(cls=RawCommand, add_help_option=False)
@click.pass_context
def ipvsadm(ctx: click.Context) -> None:
    """Edit and list the service table of this host's director with ipvsadm's commands (docs/ipvsadm.md)."""
    session = Session(ask_director, SystemNames(), sys.stdin, sys.stdout, sys.stderr, ask_in_parts)
    try:
        code = session.run(ctx.args)
    except (ControlError, ProtocolError) as error:
        sys.stderr.write(f"pointsman ipvsadm: {error}\n")
        code = REFUSED_BY_KERNEL
    ctx.exit(code)
