# SPDX-License-Identifier: Apache-2.0
"""Take over the connections of an earlier director whose tables have another version or size."""

from __future__ import annotations

import logging

from pointsman.dataplane.interface import DataPlane

log = logging.getLogger("director")


def take_over(plane: DataPlane) -> None:
    """Carry the connections over, when the services are in force, and log what was left. Raises OSError."""
    taken = plane.take_over()
    if taken is not None:
        log.info(
            "carried over %d connections and templates of the earlier tables; left behind: %d without their "
            "service, %d without their real server, %d without room, %d others",
            taken.added,
            taken.no_service,
            taken.no_server,
            taken.full,
            taken.expired + taken.malformed,
        )
