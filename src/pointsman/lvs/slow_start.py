"""slow_start and drain: real servers that come back or go take their time."""

from __future__ import annotations

from collections.abc import Collection

from pointsman.lvs.overrides import MemberKey


class Ramps:
    """Real servers on their way, to full weight or out; `now` is of a clock that never goes back."""

    def __init__(self) -> None:
        self._began: dict[MemberKey, tuple[float, float]] = {}

    @property
    def under_way(self) -> dict[MemberKey, tuple[float, float]]:
        """When each of them began, and how many seconds it takes."""
        return self._began

    def begin(self, key: MemberKey, now: float, seconds: float) -> None:
        """A real server has come back; 0 seconds: it has its whole weight at once."""
        self.end(key)
        if seconds > 0:
            self._began[key] = (now, seconds)

    def end(self, key: MemberKey) -> None:
        """A real server has gone; nothing happens when it was not on its way."""
        self._began.pop(key, None)

    def shares(self, now: float) -> dict[MemberKey, float]:
        """What part of its weight each has now, from 0 to 1."""
        return {
            key: min(max((now - began) / seconds, 0.0), 1.0) for key, (began, seconds) in self._began.items()
        }

    def forget_arrived(self, now: float) -> None:
        """Those whose whole weight is in the table are like all others."""
        for key, share in self.shares(now).items():
            if share >= 1.0:
                self.end(key)

    def keep_only(self, keys: Collection[MemberKey]) -> None:
        """Forget real servers that are no more."""
        for key in [key for key in self._began if key not in keys]:
            self.end(key)
