# SPDX-License-Identifier: Apache-2.0
"""Trackers whose first value has not come. An instance does not become master before it has come."""

from __future__ import annotations

from collections.abc import Set

from pointsman.model.tracking import TrackKind, VrrpSurroundings
from pointsman.vrrp.tracking import TrackerValues

MARGIN = 10.0
"""Seconds beyond a script's timeout after which nobody waits for its first result any more."""

TrackerKey = tuple[TrackKind, str]


class FirstResults:
    """Trackers without a value, each with the time until which instances wait for it."""

    def __init__(self) -> None:
        self._until: dict[TrackerKey, float] = {}

    @property
    def missing(self) -> Set[TrackerKey]:
        return self._until.keys()

    @property
    def deadline(self) -> float | None:
        return min(self._until.values(), default=None)

    def expect(self, now: float, surroundings: VrrpSurroundings, values: TrackerValues) -> None:
        """Expect a value of each tracker that has none. Those that were expected before keep their time."""
        patience = {(TrackKind.SCRIPT, each.name): each.timeout for each in surroundings.scripts}
        patience |= {(TrackKind.FILE, each.name): 0.0 for each in surroundings.files}
        patience |= {(TrackKind.PROCESS, each.name): 0.0 for each in surroundings.processes}
        self._until = {
            key: self._until.get(key, now + timeout + MARGIN)
            for key, timeout in patience.items()
            if key not in values
        }

    def on_value(self, key: TrackerKey) -> None:
        self._until.pop(key, None)

    def give_up(self, now: float) -> list[TrackerKey]:
        """Return those that are overdue. Nobody waits for them any more."""
        overdue = [key for key, until in self._until.items() if until <= now]
        for key in overdue:
            del self._until[key]
        return overdue
