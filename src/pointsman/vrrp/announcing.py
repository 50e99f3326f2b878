"""When a master announces its addresses (gratuitous ARP and the like) besides at the take-over."""

from __future__ import annotations

from pointsman.model.vrrp import VrrpInstance


class Announcements:
    """The second burst after a while, and the refresh now and then. Says how many packets are due."""

    def __init__(self, instance: VrrpInstance) -> None:
        self._instance = instance
        self._again_at: float | None = None
        self._refresh_at: float | None = None

    @property
    def deadline(self) -> float | None:
        return min([at for at in (self._again_at, self._refresh_at) if at is not None], default=None)

    def adopt(self, instance: VrrpInstance, now: float) -> None:
        """Other settings, in the midst of a mastership."""
        before, self._instance = self._instance, instance
        if before.garp_master_refresh != instance.garp_master_refresh:
            self._refresh_at = None
            self.begin_refreshing(now)

    def stop(self) -> None:
        self._again_at = self._refresh_at = None

    def once_more(self, now: float, delay: float) -> None:
        """A second burst; 0: none."""
        if delay > 0:
            self._again_at = now + delay

    def begin_refreshing(self, now: float) -> None:
        if self._instance.garp_master_refresh > 0:
            self._refresh_at = now + self._instance.garp_master_refresh

    def due(self, now: float) -> list[int]:
        """Packets for each address, for every burst that is due."""
        bursts: list[int] = []
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            bursts.append(self._instance.garp_master_repeat)
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at = now + self._instance.garp_master_refresh
            bursts.append(self._instance.garp_master_refresh_repeat)
        return bursts
