# SPDX-License-Identifier: Apache-2.0
"""Requests of a former master to the new one to announce the addresses again."""

from __future__ import annotations

REQUEST_PRIORITY = 1
"""Priority of the adverts that are requests."""
REANNOUNCE_REQUESTS = 2
"""Number of adverts with priority 1 in answer to a new master's adverts. One could be lost."""


class ReannounceRequests:
    """Requests that are still to be sent."""

    def __init__(self) -> None:
        self.left = 0
        self._not_before = float("-inf")

    def begin(self, now: float, spacing: float) -> None:
        """Begin with all requests. The first one is sent after `spacing` seconds at the earliest."""
        self.left, self._not_before = REANNOUNCE_REQUESTS, now + spacing

    def is_due(self, now: float, spacing: float) -> bool:
        """True if a request is to be sent now, in answer to an advert. It counts as sent."""
        if not self.left or now < self._not_before:
            return False
        self.left, self._not_before = self.left - 1, now + spacing
        return True


class HeardRequests:
    """Requests that a master has received. A router that has priority 1 itself sends more adverts."""

    def __init__(self) -> None:
        self._count, self._last = 0, float("-inf")

    def is_request(self, now: float, priority: int, interval: float) -> bool:
        """True if an advert is such a request. `interval`: seconds between the adverts of a master."""
        if priority != REQUEST_PRIORITY:
            return False
        if now > self._last + 3 * interval:
            self._count = 0
        self._count, self._last = self._count + 1, now
        return self._count <= REANNOUNCE_REQUESTS
