# SPDX-License-Identifier: Apache-2.0
"""Ramps of slow_start and drain: real servers that return or leave gradually."""

from __future__ import annotations

from collections.abc import Container

from pointsman.lvs.overrides import MemberKey
from pointsman.model.service import ServiceKey


class Ramps:
    """Real servers in transition, to full weight or out of the table. `now` is a monotonic clock in
    seconds."""

    def __init__(self) -> None:
        self._began: dict[MemberKey, tuple[float, float]] = {}

    @property
    def under_way(self) -> dict[MemberKey, tuple[float, float]]:
        """Start and duration in seconds of each transition."""
        return self._began

    def begin(self, key: MemberKey, now: float, seconds: float) -> None:
        """Begin the transition of a real server. 0 seconds: there is none."""
        self.end(key)
        if seconds > 0:
            self._began[key] = (now, seconds)

    def end(self, key: MemberKey) -> None:
        """End the transition of a real server, if there is one."""
        self._began.pop(key, None)

    def share(self, key: MemberKey, now: float) -> float | None:
        """Return the present share of a real server's weight, from 0 to 1; None: no transition."""
        if (times := self._began.get(key)) is None:
            return None
        began, seconds = times
        return min(max((now - began) / seconds, 0.0), 1.0)

    def services(self) -> set[ServiceKey]:
        """Return the services that have real servers in transition."""
        return {service for service, _ in self._began}

    def forget_arrived(self, now: float) -> None:
        """End the transitions of real servers whose share is 1."""
        for key in [key for key in self._began if self.share(key, now) == 1.0]:
            self.end(key)

    def keep_only(self, keys: Container[MemberKey]) -> None:
        """End the transitions of real servers that do not exist any more."""
        for key in [key for key in self._began if key not in keys]:
            self.end(key)
