# SPDX-License-Identifier: Apache-2.0
"""`pointsman ipvsadm`: ipvsadm's arguments, output and exit codes for the director's data plane."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO, TypeVar

import click
import msgspec

from pointsman.control.client import ControlError, DirectorNotRunning, ProtocolError, request
from pointsman.control.messages import (
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
from pointsman.model.service import ServiceTable, Transport

LINES_AT_ONCE = 1000
"""Lines of `-R` in one request: the director answers it long before the client's limit of time."""

Ask = Callable[[Request], Reply]
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
    """Carry out lines of ipvsadm's language. `ask` reaches the director."""

    def __init__(self, ask: Ask, names: SystemNames, stdin: Iterable[str], out: TextIO, err: TextIO) -> None:
        self._ask = ask
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
                rules = listing.saved_rules(self._table().table, None if numeric else self._names)
                self._out.write(rules)
            case Listing():
                self._out.write(self._listing(command))
            case ConnectionListing():
                entries = self._reply(TableRequest(connections=True), TableReply).connections
                names = None if command.numeric else self._names
                self._out.write(listing.connections(entries, names, command.engine_data))
            case TimeoutListing():
                self._out.write(listing.timeouts(*self._table().timeouts))
            case DaemonListing():
                self._table()
            case Restore():
                raise try_help()
        return 0

    def _listing(self, command: Listing) -> str:
        reply = self._table()
        table = reply.table
        head = listing.first_line(reply.connection_table_size)
        if command.service is not None:
            entry = table.get(command.service)
            if entry is None:
                raise CommandError(NO_SUCH_SERVICE, 1)
            table, head = ServiceTable((entry,)), ""
        return head + listing.listing(
            table,
            reply.rates if command.view is View.RATE else reply.counters,
            command.view,
            names=None if command.numeric else self._names,
            exact=command.exact,
            sort=command.sort,
        )

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

    def _table(self) -> TableReply:
        return self._reply(TableRequest(), TableReply)

    def _reply(self, message: Request, kind: type[Expected]) -> Expected:
        reply = self._ask(message)
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
        if not isinstance(message, TableRequest) or not pin_directory().is_dir():
            raise
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
    session = Session(ask_director, SystemNames(), sys.stdin, sys.stdout, sys.stderr)
    try:
        code = session.run(ctx.args)
    except (ControlError, ProtocolError) as error:
        sys.stderr.write(f"pointsman ipvsadm: {error}\n")
        code = REFUSED_BY_KERNEL
    ctx.exit(code)
