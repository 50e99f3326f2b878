"""What an administrator has decided about a real server at run time, over configuration and checks."""

from __future__ import annotations

import msgspec


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """An administrator's word about one real server of one service; None leaves a matter as it is."""

    weight: int | None = None
    """In place of the configured weight; 0 drains: connections live on, no new ones come."""
    up: bool | None = None
    """In place of the verdict of the checks."""

    def text(self) -> str:
        """`up, weight 0`."""
        words = [] if self.up is None else ["up" if self.up else "down"]
        return ", ".join([*words, *([] if self.weight is None else [f"weight {self.weight}"])])
