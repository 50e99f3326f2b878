# SPDX-License-Identifier: Apache-2.0
"""Timers of a master that yields: when it gives up waiting, and when it removes its addresses."""

from __future__ import annotations

from pointsman.model.address import Address

GRACE = 0.05
"""Seconds that addresses stay after another router has taken over on request.

It must first add and announce them. Until then this host serves packets that still arrive.
"""
PATIENCE_MARGIN = 0.25
"""Seconds added to the longest skew while waiting for another router to take over on request."""
LONGEST_PATIENCE = 3.0


class Yielding:
    """State of a master that yields. `is_stopping`: it stops afterwards."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.resume_at: float | None = None
        """Time to continue as master (or to stop), because no router has taken over."""
        self.release_at: float | None = None
        """Time to remove the addresses, after another router has taken over."""
        self._cause = ""
        self._successor: Address | None = None

    @property
    def is_active(self) -> bool:
        return self.resume_at is not None

    @property
    def deadline(self) -> float | None:
        return min([at for at in (self.resume_at, self.release_at) if at is not None], default=None)

    @property
    def reason(self) -> str:
        """Reason why the master role ends."""
        return f"{self._cause}: {self._successor or 'no other router'} has taken over"

    def begin(self, now: float, longest_skew: float, cause: str) -> None:
        self._cause, self._successor = cause, None
        self.resume_at = now + min(longest_skew + PATIENCE_MARGIN, LONGEST_PATIENCE)

    def on_successor(self, now: float, source: Address) -> bool:
        """Another router has advertised. Return False if one had done so before."""
        if self.release_at is not None:
            return False
        self._successor = source
        self.release_at = now + GRACE
        return True

    def end(self) -> None:
        self.resume_at = self.release_at = None
