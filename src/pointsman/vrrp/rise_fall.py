# SPDX-License-Identifier: Apache-2.0
"""Filter of results that changes only after several consecutive ones."""

from __future__ import annotations


class RiseFall:
    """Rise and fall counter. The first result counts at once.

    `rise` consecutive successes make it good, `fall` consecutive failures bad. With `init_fail` it is bad
    until `rise` successes.
    """

    def __init__(self, rise: int, fall: int, init_fail: bool) -> None:
        self._needed = {True: rise, False: fall}
        self._verdict: bool | None = False if init_fail else None
        self._streak = 0

    def result(self, good: bool) -> bool | None:
        """Add a result. Return the new state, or None if it has not changed."""
        if self._verdict is None:
            self._verdict = good
            return good
        self._streak = self._streak + 1 if good is not self._verdict else 0
        if self._streak < self._needed[good]:
            return None
        self._verdict, self._streak = good, 0
        return good
