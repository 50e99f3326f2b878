# SPDX-License-Identifier: Apache-2.0
"""Run-time settings of a real server by the administrator, above configuration and checks."""

from __future__ import annotations

import msgspec


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """Override of one real server of one service. None: not overridden."""

    weight: int | None = None
    """Replaces the configured weight. 0 drains: connections continue, no new ones are scheduled."""
    up: bool | None = None
    """Replaces the result of the checks."""

    def text(self) -> str:
        """Return the override in words, for example `up, weight 0`."""
        words = [] if self.up is None else ["up" if self.up else "down"]
        return ", ".join([*words, *([] if self.weight is None else [f"weight {self.weight}"])])
