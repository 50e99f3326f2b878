# SPDX-License-Identifier: Apache-2.0
"""Times of a master's adverts: one each interval, and answers out of turn to a rival."""

from __future__ import annotations

ANSWER_SPACING = 0.5
"""Minimum time between adverts out of turn (answers to a rival), as part of an interval.

It keeps a flood of foreign adverts from causing a flood of ours.
"""


class Advertising:
    """Timer of the own adverts. `interval` is in seconds."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.at: float | None = None
        """Time of the next advert. None: no router that is not master advertises."""
        self.last = float("-inf")
        """Time of the last advert as master."""
        self._answer_after = float("-inf")

    @property
    def spacing(self) -> float:
        """Minimum seconds between two adverts out of turn."""
        return ANSWER_SPACING * self.interval

    def sent(self, now: float) -> None:
        """An advert is sent now. If it was due, the next one counts from its deadline, so that small delays
        do not add up. After a stall it counts from now."""
        due, self.last = self.at, now
        self.at = now + self.interval
        if due is not None and due <= now < due + self.interval:
            self.at = due + self.interval

    def may_answer(self, now: float) -> bool:
        """True if a rival may be answered now. The answer counts as sent."""
        if now < self._answer_after:
            return False
        self._answer_after = now + self.spacing
        return True
