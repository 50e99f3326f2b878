# SPDX-License-Identifier: Apache-2.0
"""Messages between a client and the director.

Each is a tagged msgspec Struct, encoded as JSON, so that a capture is readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from pointsman.control.codec import EncodedConfig, decoder, encoder
from pointsman.control.status import ServiceStatus, Status
from pointsman.model.address import Address
from pointsman.model.decoding import decoding
from pointsman.model.operations import Operation, Refusal
from pointsman.model.override import Override
from pointsman.model.service import ServiceKey, ServiceTable
from pointsman.model.traffic import Connection, Counters

# client -> director


class StatusRequest(msgspec.Struct, frozen=True, tag=True):
    """Request for the status."""

    services: bool = True
    """False: without services."""
    connections: bool = False
    """True: with the numbers of connections of services and real servers."""


class TableRequest(msgspec.Struct, frozen=True, tag=True):
    """Request for the table and its counters."""

    connections: bool = False
    """True: with the list of connections."""
    services: bool = True
    """False: without services."""
    service: ServiceKey | None = None
    """Only this service; None: all."""
    rates: bool = False
    """True: with the traffic per second."""


class ApplyRequest(msgspec.Struct, frozen=True, tag=True):
    """Request for changes of the table, as ipvsadm makes them."""

    operations: tuple[Operation, ...]


class ReloadRequest(msgspec.Struct, frozen=True, tag=True):
    """Request to replace the configuration in force; None: by the previous one."""

    config: EncodedConfig | None
    dry_run: bool = False
    """True: only report the planned changes."""
    force: bool = False
    """True: also if the new configuration is empty."""
    file: str | None = None
    """Path of its file, for `status`; None: unchanged."""
    warnings: tuple[str, ...] = ()
    """Warnings about it, for `status`."""


class ReloadRefused(msgspec.Struct, frozen=True, tag=True):
    """Report of a configuration with errors that was not loaded, for `status`."""

    problems: tuple[str, ...]


class SwitchoverRequest(msgspec.Struct, frozen=True, tag=True):
    """Request to hand the master role to another router."""

    instance: str
    """Empty: every instance that is master here."""


class OverrideRequest(msgspec.Struct, frozen=True, tag=True):
    """Request to override configuration and checks of a real server by hand."""

    server: Address
    port: int = 0
    """0: every port."""
    service: str = ""
    """Name of the service in log and status; empty: every service that has this real server."""
    override: Override | None = None
    """None: remove the override."""
    seconds: float = 0.0
    """Duration of the override; 0: until it is removed."""


# director -> client


class ServicesReply(msgspec.Struct, frozen=True, tag=True):
    """Services of a status: another part of the reply follows."""

    services: tuple[ServiceStatus, ...]


class StatusReply(msgspec.Struct, frozen=True, tag=True):
    """The status of the director, in the last message of the reply. Its services come before it."""

    status: Status

    def preceded_by(self, parts: Iterable[ServicesReply]) -> StatusReply:
        """Return the whole reply from its last message and those before it."""
        services = (*chain.from_iterable(part.services for part in parts), *self.status.services)
        return StatusReply(msgspec.structs.replace(self.status, services=services))


class TableReply(msgspec.Struct, frozen=True, tag=True):
    """The table, its counters and, if requested, rates and connections.

    A long one comes in several messages. The exits are in the last one.
    """

    table: ServiceTable
    counters: Counters
    timeouts: tuple[int, int, int]
    """Seconds: tcp, tcpfin, udp."""
    connection_table_size: int
    connections: tuple[Connection, ...] = ()
    rates: Counters = Counters()
    """Traffic per second (lvs/estimator.py), in the fields of the counters."""
    more: bool = False
    """True: another message follows."""

    def followed_by(self, rest: Sequence[TableReply]) -> TableReply:
        """Return the whole reply from its first message and the others."""
        parts = (self, *rest)
        services = chain.from_iterable(part.counters.services for part in parts)
        rates = chain.from_iterable(part.rates.services for part in parts)
        return TableReply(
            ServiceTable(tuple(chain.from_iterable(part.table for part in parts))),
            Counters(tuple(services), parts[-1].counters.exits),
            self.timeouts,
            self.connection_table_size,
            tuple(chain.from_iterable(part.connections for part in parts)),
            Counters(tuple(rates)),
        )


class ApplyReply(msgspec.Struct, frozen=True, tag=True):
    """The operations that were refused."""

    refusals: tuple[Refusal, ...] = ()


class ReloadReply(msgspec.Struct, frozen=True, tag=True):
    """The changes of a reload."""

    plan: tuple[str, ...]
    """Changes that were made, or with `dry_run` would be made."""
    generation: int
    """Number of the configuration in force now."""


class SwitchoverReply(msgspec.Struct, frozen=True, tag=True):
    """The request was passed on to the VRRP process."""


class OverrideReply(msgspec.Struct, frozen=True, tag=True):
    """The real servers that were changed."""

    servers: tuple[str, ...]


class ErrorReply(msgspec.Struct, frozen=True, tag=True):
    """The request was not carried out."""

    error: str


Request = (
    StatusRequest
    | TableRequest
    | ApplyRequest
    | ReloadRequest
    | ReloadRefused
    | SwitchoverRequest
    | OverrideRequest
)
Reply = (
    ServicesReply
    | StatusReply
    | TableReply
    | ApplyReply
    | ReloadReply
    | SwitchoverReply
    | ErrorReply
    | OverrideReply
)
Pages = tuple[bytes, ...]
"""The messages of a long reply, encoded."""
Answer = Reply | Pages
"""A reply, or the messages of a long one."""
_REQUEST: Any = Request
_REPLY: Any = Reply


def encode(message: Request | Reply) -> bytes:
    """Return a message as bytes."""
    return encoder.encode(message)


def decode_request(data: bytes) -> Request:
    """Return a request of a client. Raises InvalidDataError."""
    with decoding():
        request: Request = decoder(_REQUEST).decode(data)
    return request


def decode_reply(data: bytes) -> Reply:
    """Return a reply of the director. Raises InvalidDataError."""
    with decoding():
        reply: Reply = decoder(_REPLY).decode(data)
    return reply
