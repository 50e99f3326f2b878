# SPDX-License-Identifier: Apache-2.0
"""Ramps of slow_start and drain: real servers that return or leave gradually."""

from __future__ import annotations

from collections.abc import Collection

from pointsman.lvs.overrides import MemberKey


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

    def shares(self, now: float) -> dict[MemberKey, float]:
        """Return the present share of each real server's weight, from 0 to 1."""
        return {
            key: min(max((now - began) / seconds, 0.0), 1.0) for key, (began, seconds) in self._began.items()
        }

    def forget_arrived(self, now: float) -> None:
        """End the transitions of real servers whose share is 1."""
        for key, share in self.shares(now).items():
            if share >= 1.0:
                self.end(key)

    def keep_only(self, keys: Collection[MemberKey]) -> None:
        """End the transitions of real servers that do not exist any more."""
        for key in [key for key in self._began if key not in keys]:
            self.end(key)
