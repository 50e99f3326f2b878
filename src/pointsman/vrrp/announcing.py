# SPDX-License-Identifier: Apache-2.0
"""Schedule of a master's announcements (gratuitous ARP and neighbour advertisements) after its first
burst."""

from __future__ import annotations

from pointsman.model.vrrp import VrrpInstance


class Announcements:
    """Timers of the second burst and of the periodic refresh."""

    def __init__(self, instance: VrrpInstance) -> None:
        self._instance = instance
        self._again_at: float | None = None
        self._refresh_at: float | None = None

    @property
    def deadline(self) -> float | None:
        return min([at for at in (self._again_at, self._refresh_at) if at is not None], default=None)

    def reconfigure(self, instance: VrrpInstance, now: float) -> None:
        """Use other settings while the instance is master."""
        before, self._instance = self._instance, instance
        if before.garp_master_refresh != instance.garp_master_refresh:
            self._refresh_at = None
            self.start_refresh(now)

    def stop(self) -> None:
        self._again_at = self._refresh_at = None

    def schedule_second_burst(self, now: float, delay: float) -> None:
        """Schedule a second burst in `delay` seconds. 0: none."""
        if delay > 0:
            self._again_at = now + delay

    def start_refresh(self, now: float) -> None:
        if self._instance.garp_master_refresh > 0:
            self._refresh_at = now + self._instance.garp_master_refresh

    def due(self, now: float) -> list[int]:
        """Return the number of packets per address for every burst that is due."""
        bursts: list[int] = []
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            bursts.append(self._instance.garp_master_repeat)
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at = now + self._instance.garp_master_refresh
            bursts.append(self._instance.garp_master_refresh_repeat)
        return bursts
