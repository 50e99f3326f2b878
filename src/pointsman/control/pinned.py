# SPDX-License-Identifier: Apache-2.0
"""Read the pinned maps of a director directly from the kernel, without the director process."""

from __future__ import annotations

from pointsman.control.client_messages import TableReply, TableRequest
from pointsman.control.paths import pin_directory
from pointsman.dataplane.interface import DataPlane
from pointsman.model.service import ServiceTable
from pointsman.model.traffic import Counters


def pinned_plane() -> DataPlane:
    """Open the data plane of this network namespace read-only. Needs root. Raises OSError."""
    from pointsman.dataplane.xdp.plane import (
        XdpDataPlane,  # not before it is needed: most verbs ask the director
    )

    return XdpDataPlane.open_readonly(pin_directory())


def read_table(plane: DataPlane, message: TableRequest) -> TableReply:
    """Return the reply of a director, without rates, and close `plane`. Raises OSError.

    Only the director process can estimate rates. Services of a stopped director, which serve known
    connections only, are left out; their connections are not.
    """
    try:
        kept = plane.unattended.kept()
        table, counters = ServiceTable(), Counters(exits=plane.exits())
        if message.service is not None:
            entry, counted = plane.entry(message.service), plane.counters_of(message.service)
            if entry is not None and counted is not None and message.service not in kept:
                table, counters = ServiceTable((entry,)), Counters((counted,), counters.exits)
        elif message.services:
            in_force = (entry for entry in plane.read() if entry.service.key not in kept)
            table, counters = ServiceTable.of(in_force), plane.counters()
        return TableReply(
            table=table,
            counters=counters,
            timeouts=plane.timeouts(),
            connection_table_size=plane.capabilities().connection_limit,
            connections=tuple(plane.connections()) if message.connections else (),
        )
    finally:
        plane.close(keep_forwarding=True)
