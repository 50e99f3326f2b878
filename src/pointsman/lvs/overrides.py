# SPDX-License-Identifier: Apache-2.0
"""Overrides of real servers by the administrator, and their expiry."""

from __future__ import annotations

from collections.abc import Container

import msgspec

from pointsman.model.override import Override
from pointsman.model.service import ServerKey, ServiceKey

MemberKey = tuple[ServiceKey, ServerKey]


class OverrideBook:
    """The active overrides. `now` is a monotonic clock in seconds, as in model/machine.py."""

    def __init__(self) -> None:
        self._kept: dict[MemberKey, Override] = {}
        self._until: dict[MemberKey, float] = {}

    @property
    def active(self) -> dict[MemberKey, Override]:
        """All active overrides."""
        return self._kept

    def put(self, key: MemberKey, override: Override, until: float | None = None) -> None:
        """Add to the override of this real server. `until` None: it does not expire."""
        known = self._kept.get(key, Override())
        self._kept[key] = msgspec.structs.replace(
            known,
            weight=known.weight if override.weight is None else override.weight,
            up=known.up if override.up is None else override.up,
        )
        self._until.pop(key, None)
        if until is not None:
            self._until[key] = until

    def release(self, key: MemberKey) -> bool:
        """Remove the override of this real server. Return True if there was one."""
        self._until.pop(key, None)
        return self._kept.pop(key, None) is not None

    def expire(self, now: float) -> list[MemberKey]:
        """Remove the expired overrides and return their keys."""
        over = [key for key, until in self._until.items() if until <= now]
        for key in over:
            self.release(key)
        return over

    def left(self, key: MemberKey, now: float) -> float | None:
        """Return the seconds until the override of this real server expires. None: it has no expiry, or does
        not exist."""
        return max(0.0, self._until[key] - now) if key in self._until else None

    def until(self, key: MemberKey) -> float | None:
        """Return the time when the override of this real server expires. None: no expiry, or no override."""
        return self._until.get(key)

    def keep_only(self, keys: Container[MemberKey]) -> None:
        """Remove the overrides of real servers that do not exist any more."""
        for key in [key for key in self._kept if key not in keys]:
            self.release(key)
