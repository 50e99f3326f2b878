# SPDX-License-Identifier: Apache-2.0
"""Interface of the cores that depend on time: `now` goes in, effects and the next deadline come out."""

from __future__ import annotations

from typing import Protocol, TypeVar

Effect = TypeVar("Effect")


class Machine(Protocol[Effect]):
    """A state machine without I/O. `now` is in seconds of a monotonic clock (CLOCK_MONOTONIC).

    Typed inputs (methods of the implementing class) and `advance` change the state. After each of them the
    caller executes `effects()` in order.
    """

    @property
    def deadline(self) -> float | None:
        """Time of the next call of `advance`. None: only an input can change the state."""

    def advance(self, now: float) -> None:
        """Fire every timer that is due at `now`."""

    def effects(self) -> list[Effect]:
        """Return the effects since the last call in order, and forget them."""
