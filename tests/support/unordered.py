# SPDX-License-Identifier: Apache-2.0
"""Service tables without their order."""

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
    """Return the content of a table, without the order of services and servers."""
    return {
        entry.service.key: (entry.service, {server.key: server for server in entry.servers})
        for entry in table
    }
