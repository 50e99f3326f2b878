"""A service table without its order."""

from __future__ import annotations

from pointsman.model.service import (
    RealServer,
    ServerKey,
    ServiceKey,
    ServiceTable,
    VirtualService,
)


def unordered(
    table: ServiceTable,
) -> dict[ServiceKey, tuple[VirtualService, dict[ServerKey, RealServer]]]:
    """What a table says, whatever the order of services and of servers."""
    return {
        entry.service.key: (entry.service, {server.key: server for server in entry.servers})
        for entry in table
    }
