"""What a line of ipvsadm's language asks for."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.operations import Operation
from pointsman.model.service import ServiceKey


class View(enum.Enum):
    """What `-L` shows of each service and real server."""

    TABLE = enum.auto()
    STATS = enum.auto()
    RATE = enum.auto()
    THRESHOLDS = enum.auto()
    PERSISTENT = enum.auto()
    TUNNEL = enum.auto()


class Apply(msgspec.Struct, frozen=True):
    """Change the table, its counters or the timeouts."""

    operation: Operation


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """-L of the table."""

    view: View = View.TABLE
    service: ServiceKey | None = None
    """Only this one."""
    numeric: bool = False
    exact: bool = False
    sort: bool = True


class ConnectionListing(msgspec.Struct, frozen=True, kw_only=True):
    """-L -c."""

    numeric: bool = False
    engine_data: bool = False
    """With the columns of a persistence engine (--persistent-conn)."""


class TimeoutListing(msgspec.Struct, frozen=True):
    """-L --timeout."""


class DaemonListing(msgspec.Struct, frozen=True):
    """-L --daemon."""


class Save(msgspec.Struct, frozen=True):
    """-S."""

    numeric: bool


class Restore(msgspec.Struct, frozen=True):
    """-R: more lines come from standard input."""


class Show(msgspec.Struct, frozen=True):
    """Text for standard output (-h, -v)."""

    text: str


Command = Apply | Listing | ConnectionListing | TimeoutListing | DaemonListing | Save | Restore | Show
