# SPDX-License-Identifier: Apache-2.0
"""Commands of ipvsadm's language."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.operations import Operation
from pointsman.model.service import ServiceKey


class View(enum.Enum):
    """Columns of `-L`."""

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
    """List the table (-L)."""

    view: View = View.TABLE
    service: ServiceKey | None = None
    """List only this service."""
    numeric: bool = False
    exact: bool = False
    sort: bool = True


class ConnectionListing(msgspec.Struct, frozen=True, kw_only=True):
    """List connections (-L -c)."""

    numeric: bool = False
    engine_data: bool = False
    """Add the columns of a persistence engine (--persistent-conn)."""


class TimeoutListing(msgspec.Struct, frozen=True):
    """List the timeouts (-L --timeout)."""


class DaemonListing(msgspec.Struct, frozen=True):
    """List the synchronization daemons (-L --daemon)."""


class Save(msgspec.Struct, frozen=True):
    """Save the table (-S)."""

    numeric: bool


class Restore(msgspec.Struct, frozen=True):
    """Restore the table (-R): more lines follow on standard input."""


class Show(msgspec.Struct, frozen=True):
    """Print a text on standard output (-h, -v)."""

    text: str


Command = Apply | Listing | ConnectionListing | TimeoutListing | DaemonListing | Save | Restore | Show
