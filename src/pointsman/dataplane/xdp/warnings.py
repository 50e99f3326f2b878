# SPDX-License-Identifier: Apache-2.0
"""Warnings about what the data plane cannot do: marks before XDP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pointsman.dataplane.interface import Attachment
from pointsman.model.service import ServiceKey


def warn_of_marks(marks: Sequence[ServiceKey], attachments: Iterable[Attachment]) -> list[str]:
    """Return warnings about marks that no packet has: XDP runs before netfilter and tc set them."""
    names = ", ".join(map(str, marks))
    return [
        f"{each.interface} has {each.mode} XDP, which comes before marks are set: "
        f"{names} gets nothing from there: use mode tc"
        for each in attachments
        if names and each.mode != "tc"
    ]
