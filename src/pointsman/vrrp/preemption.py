# SPDX-License-Identifier: Apache-2.0
"""Decide whether a backup accepts a master with a lower priority (RFC 5798 Preempt_Mode, preempt_delay)."""

from __future__ import annotations

from pointsman.model.vrrp import VrrpInstance


class Preemption:
    """Preemption state of one backup. `has_yielded`: it yielded on request, until the new master is down."""

    def __init__(self) -> None:
        self.has_yielded = False
        self._not_before: float | None = None
        """Time from which a master of a lower priority may be replaced. None: there was none."""

    def reset(self) -> None:
        """Restart the delay after a change of state or settings."""
        self._not_before = None

    def accepts(self, instance: VrrpInstance, now: float, own: int, other: int) -> bool:
        """True if this master may continue. Otherwise the wait for its adverts continues and ends it."""
        if other >= own:
            self._not_before = None
            return True
        if instance.nopreempt or self.has_yielded:
            return True
        if self._not_before is None:
            self._not_before = now + instance.preempt_delay
        return now < self._not_before
