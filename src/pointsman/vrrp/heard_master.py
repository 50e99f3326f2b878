# SPDX-License-Identifier: Apache-2.0
"""The present master as a backup hears it: its address, priority and interval, and the time it is down."""

from __future__ import annotations

from pointsman.model.address import Address
from pointsman.vrrp.wire import Advert


class HeardMaster:
    """The present master as this router has heard it. A master with a lower priority has no address here."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        """Advert interval in seconds. Version 3 learns it from the master, version 2 has its own."""
        self._address: Address | None = None
        self._priority = 0
        self.claim = ""
        """Reason to become master although adverts arrive. Empty: only silence is a reason."""

    def why_replaced(self, down_interval: float) -> str:
        """Return the reason why this router becomes master. Empty: no master was ever heard."""
        if self.claim or self._address is None:
            return self.claim
        return f"no advert from {self._address} for {down_interval:.2g} s"

    def learn_interval(self, advert: Advert, version: int) -> None:
        """Use the interval of this advert, if the version of VRRP allows another one than the own."""
        if version == 3:
            self.interval = max(advert.interval, 1) / 100

    def accept(self, source: Address, advert: Advert, own: int) -> None:
        """Remember the sender, if it is not worse than this router with its priority `own`."""
        self.claim = ""
        self._address = source if advert.priority >= own else None
        self._priority = advert.priority

    def on_resigned(self, source: Address) -> None:
        """Process priority 0: the master ends its role."""
        self.claim = f"{source} hands over: it sent priority 0"

    def on_worse(self, source: Address, advert: Advert, own: int) -> None:
        """Process the advert of a master that this router with its priority `own` replaces."""
        self.claim = f"{source} is master with priority {advert.priority}, here it is {own}"

    def is_demoted(self, source: Address, advert: Advert, own: int) -> bool:
        """True if the master now advertises a lower priority than before, and a lower one than `own`.

        A master that advertises the same as before is not demoted when the own priority has risen.
        """
        return source == self._address and advert.priority < min(self._priority, own)


class DownTimer:
    """Timer of a backup (Master_Down_Timer of the RFCs). A repetition of the last advert only moves it."""

    def __init__(self) -> None:
        self.at: float | None = None
        """Time at which the master is down. None: the timer does not run."""
        self.repeat_wait: float | None = None
        """Wait in seconds that a repetition of the last advert would set. None: it may have other effects."""

    def stop(self) -> None:
        self.at = self.repeat_wait = None

    def on_repeat(self, now: float) -> bool:
        """Move the timer to a later time. Return False if the advert may have another effect."""
        if self.repeat_wait is None or self.at is None or now + self.repeat_wait < self.at:
            return False
        self.at = now + self.repeat_wait
        return True
