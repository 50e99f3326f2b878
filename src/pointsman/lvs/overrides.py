"""What the administrator has said about real servers by hand, and until when it holds."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from pointsman.model.override import Override
from pointsman.model.service import ServerKey, ServiceKey

MemberKey = tuple[ServiceKey, ServerKey]


class OverrideBook:
    """The overrides in force; `now` is a clock that never goes back, as in model/machine.py."""

    def __init__(self) -> None:
        self._kept: dict[MemberKey, Override] = {}
        self._until: dict[MemberKey, float] = {}

    @property
    def active(self) -> dict[MemberKey, Override]:
        """Every override in force."""
        return self._kept

    def put(self, key: MemberKey, override: Override, until: float | None = None) -> None:
        """Add to what was said before about this real server; None as `until`: for good."""
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
        """Configuration and checks decide again; whether anything else did."""
        self._until.pop(key, None)
        return self._kept.pop(key, None) is not None

    def expire(self, now: float) -> list[MemberKey]:
        """Release those whose time is over."""
        over = [key for key, until in self._until.items() if until <= now]
        for key in over:
            self.release(key)
        return over

    def left(self, key: MemberKey, now: float) -> float | None:
        """Seconds until the override of this real server ends; None: there is none, or it has no end."""
        return max(0.0, self._until[key] - now) if key in self._until else None

    def until(self, key: MemberKey) -> float | None:
        """When the override of this real server ends; None: there is none, or it has no end."""
        return self._until.get(key)

    def keep_only(self, keys: Collection[MemberKey]) -> None:
        """Forget real servers that are no more."""
        for key in [key for key in self._kept if key not in keys]:
            self.release(key)
