# SPDX-License-Identifier: Apache-2.0
"""Messages between the sync process and the director. JSON, one per datagram."""

from __future__ import annotations

import msgspec

# director -> sync


class HandOver(msgspec.Struct, frozen=True, tag=True):
    """Request to send everything and to report when the other directors have it."""

    seconds: float
    """Time after which to report in any case."""


# sync -> director


class HandedOver(msgspec.Struct, frozen=True, tag=True):
    """Answer to a HandOver."""

    behind: tuple[str, ...]
    """Addresses of peers that do not have everything; empty: all have."""


class SyncPeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A peer of connection_sync."""

    address: str
    heard: float | None
    """Seconds since boot (CLOCK_BOOTTIME) of its last message. None: it has never answered."""
    complete: bool
    """True if its whole table has arrived."""
    behind: int
    """Datagrams that it has not acknowledged."""
    carried: int
    """Connections that it carries."""
    lost: int
    """How often datagrams were lost for good, so that the whole table was asked for."""
    resent: int
    """Datagrams that were sent to it again."""


class SyncReport(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """State of connection_sync, every second."""

    peers: tuple[SyncPeerReport, ...] = ()
    sent: int = 0
    """Records sent, to each peer once."""
    received: int = 0
    taken: dict[str, int] = {}
    """Received records by what became of them: added, updated, kept, conflict, no_service, no_server ..."""
    dropped: dict[str, int] = {}
    """Datagrams by the reason why they were dropped."""
    overrun: int = 0
    """Records that were lost before they were read."""
    is_asking: bool = False
    """True while real servers may still tell of their connections."""
    error: str = ""
    """Why nothing is synchronised; empty: it works."""
