# SPDX-License-Identifier: Apache-2.0
"""Other hosts that answer for virtual addresses of a master, each until it has been silent for a while."""

from __future__ import annotations

from pointsman.model.address import Address

SILENCE = 25.0
"""Seconds without an answer after which a conflict is over: two probes were not answered."""
HANDOVER = 0.9
"""Seconds after a takeover in which answers do not count. The first probe must come later.

The kernel of the former master answers the first announcement if it still has the address.
"""
REPORT_INTERVAL = 1.0
"""Minimum seconds between two reactions to answers, however many there are."""


class Conflicts:
    """Addresses of an instance for which another host has answered, with its MAC address."""

    def __init__(self) -> None:
        self._seen: dict[Address, tuple[bytes, float]] = {}
        self._not_before = self._counts_from = float("-inf")

    @property
    def text(self) -> str:
        """Description of the first conflict. Empty: there is none."""
        for address, (mac, _) in self._seen.items():
            return f"another host ({mac.hex(':')}) answers for {address}"
        return ""

    def on_takeover(self, now: float) -> None:
        """Begin anew: this host has taken the addresses over."""
        self._seen.clear()
        self._counts_from = now + HANDOVER

    def on_answer(self, now: float, address: Address, mac: bytes) -> bool:
        """Note an answer. Return True if it is time to react."""
        if now < self._counts_from:
            return False
        self._seen[address] = mac, now
        if now < self._not_before:
            return False
        self._not_before = now + REPORT_INTERVAL
        return True

    def expire(self, now: float) -> list[Address]:
        """Forget conflicts that are over, and return their addresses."""
        over = [address for address, (_, last) in self._seen.items() if now - last >= SILENCE]
        for address in over:
            del self._seen[address]
        return over

    def clear(self) -> None:
        self._seen.clear()
