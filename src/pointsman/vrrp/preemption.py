"""Whether a backup lets a master be that is worse than itself (RFC 5798 Preempt_Mode, preempt_delay)."""

from __future__ import annotations

from pointsman.model.vrrp import VrrpInstance


class Preemption:
    """Of one backup. `stands_back`: handed over by hand, until the new master is gone."""

    def __init__(self) -> None:
        self.stands_back = False
        self._not_before: float | None = None
        """When a master of a lower priority may be replaced; None: none has been seen."""

    def reset(self) -> None:
        """A change of state, or other settings: the delay counts anew."""
        self._not_before = None

    def accepts(self, instance: VrrpInstance, now: float, own: int, other: int) -> bool:
        """Whether this master may go on. If not, the wait for its adverts runs on and ends it."""
        if other >= own:
            self._not_before = None
            return True
        if instance.nopreempt or self.stands_back:
            return True
        if self._not_before is None:
            self._not_before = now + instance.preempt_delay
        return now < self._not_before
