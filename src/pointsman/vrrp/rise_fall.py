"""Results that come one after the other, and the verdict that changes only after several of a kind."""

from __future__ import annotations


class RiseFall:
    """`rise` successes in a row make it good, `fall` failures in a row bad; the very first result counts.

    With `init_fail` it is bad until `rise` successes have come.
    """

    def __init__(self, rise: int, fall: int, init_fail: bool) -> None:
        self._needed = {True: rise, False: fall}
        self._verdict: bool | None = False if init_fail else None
        self._streak = 0

    def result(self, good: bool) -> bool | None:
        """Take in a result. The new verdict, or None when it has not changed."""
        if self._verdict is None:
            self._verdict = good
            return good
        self._streak = self._streak + 1 if good is not self._verdict else 0
        if self._streak < self._needed[good]:
            return None
        self._verdict, self._streak = good, 0
        return good
