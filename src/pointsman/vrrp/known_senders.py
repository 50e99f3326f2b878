# SPDX-License-Identifier: Apache-2.0
"""Senders of accepted adverts: a flood from others does not suppress them, and their own has a bound."""

from __future__ import annotations

from pointsman.model.address import Address
from pointsman.vrrp.prefilter import REFUSED_A_SECOND, TokenBucket

MAX_KNOWN_SENDERS = 256


class KnownSenders:
    """Addresses of routers with an accepted advert, each with its budgets for refused packets.

    There are two: packets that look right do not compete with the others, which can be
    forged in any number.
    """

    def __init__(self) -> None:
        self._budgets: dict[Address, tuple[TokenBucket, TokenBucket]] = {}

    def add(self, sender: Address) -> bool:
        """Return True if the sender is new and there is room for it."""
        if sender in self._budgets or len(self._budgets) >= MAX_KNOWN_SENDERS:
            return False
        self._budgets[sender] = TokenBucket(REFUSED_A_SECOND), TokenBucket(REFUSED_A_SECOND)
        return True

    def __contains__(self, sender: Address) -> bool:
        return sender in self._budgets

    def find_budget(self, sender: Address, is_plausible: bool) -> TokenBucket | None:
        """Return the budget of a sender. None: it is not known. `is_plausible`: it looks right."""
        budgets = self._budgets.get(sender)
        return None if budgets is None else budgets[is_plausible]
