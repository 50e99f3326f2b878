# SPDX-License-Identifier: Apache-2.0
"""Warnings about what the data plane cannot do: marks before XDP, tables of another size or version."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pointsman.dataplane.interface import Attachment
from pointsman.dataplane.xdp.kernel import libbpf, pins
from pointsman.dataplane.xdp.kernel.layout import WAYS
from pointsman.dataplane.xdp.tables import SPARE, Sizes
from pointsman.model.service import ServiceKey

log = logging.getLogger("director")


def warn_of_marks(marks: Sequence[ServiceKey], attachments: Iterable[Attachment]) -> list[str]:
    """Return warnings about marks that no packet has: XDP runs before netfilter and tc set them."""
    names = ", ".join(map(str, marks))
    return [
        f"{each.interface} has {each.mode} XDP, which comes before marks are set: "
        f"{names} gets nothing from there: use mode tc"
        for each in attachments
        if names and each.mode != "tc"
    ]


def log_about_tables(directory: Path, pinned: Mapping[str, int], sizes: Sizes) -> None:
    """Warn of tables that begin empty or have another size than configured."""
    if not pinned and pins.map_directories(directory):
        log.warning(
            "the tables in force are another version's: connections begin anew, and until "
            "the new ones are filled packets for the services are left to this host's own stack"
        )
    if "pm_connections" in pinned:
        held = libbpf.map_info(pinned["pm_connections"]).entries
        if held != sizes.entries()["pm_connections"]:
            log.warning(
                "--connections %d counts for new tables only: those in force have room for %d and are kept",
                sizes.connections,
                held * WAYS // SPARE,
            )
