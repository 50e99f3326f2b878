# SPDX-License-Identifier: Apache-2.0
"""Messages between the sync process and the director. JSON, one per datagram."""

from __future__ import annotations

import msgspec

from pointsman.control.status import SyncStatus

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


class SyncReport(msgspec.Struct, frozen=True, tag=True):
    """State of connection_sync, every second."""

    status: SyncStatus
    time: float
    """Seconds since boot (CLOCK_BOOTTIME), so that ages are right however late the message is read."""
    is_asking: bool = False
    """True while real servers may still tell of their connections."""
