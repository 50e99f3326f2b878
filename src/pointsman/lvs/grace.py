# SPDX-License-Identifier: Apache-2.0
"""Grace for packets of established connections that another director may know: when it begins and ends.

A service whose VIP VRRP moves has grace while the VIP is elsewhere (so a take-over has no gap), and for some
seconds after it has come. Other services have it for some seconds after a start with empty tables. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pointsman.lvs.standby import instances_of
from pointsman.model.config import Config
from pointsman.model.service import ServiceKey

Seconds = dict[ServiceKey, int | None]
"""Seconds of grace by service. None: until the VIP comes."""


class Grace:
    """The grace of the configured services. `now`: a monotonic clock in seconds."""

    def __init__(self, config: Config, is_fresh: bool, now: float) -> None:
        """`is_fresh`: the tables were empty at the start."""
        self._held: dict[str, float | None] = {}
        """Instances that have reported: when their addresses came to this host; None: they are elsewhere."""
        self._began = now if is_fresh else -math.inf
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Use another configuration. Services that are in the table already keep their grace."""
        self._seconds = config.grace_seconds
        self._instances = instances_of(config.virtual_servers, config.instances)

    def on_held(self, held: Mapping[str, bool], now: float) -> Seconds:
        """Note for each instance that has reported if its addresses are here. Return what changes by that."""
        moved = {name for name, is_here in held.items() if self._has_moved(name, is_here)}
        self._held |= {name: now if held[name] else None for name in moved}
        return self.of((key for key, names in self._instances.items() if names & moved), now) if moved else {}

    def _has_moved(self, name: str, is_here: bool) -> bool:
        return name not in self._held or (self._held[name] is not None) is not is_here

    def of(self, services: Iterable[ServiceKey], now: float) -> Seconds:
        """Return the grace of these services, without those that have none."""
        wanted = {key: self._wanted(key, now) for key in services} if self._seconds else {}
        return {key: seconds for key, seconds in wanted.items() if seconds != 0}

    def _wanted(self, key: ServiceKey, now: float) -> int | None:
        began = self._began
        if names := self._instances.get(key):
            came = [when for name in names if (when := self._held.get(name)) is not None]
            if not came:
                return None
            began = max(came)
        return math.ceil(max(0.0, began + self._seconds - now))
