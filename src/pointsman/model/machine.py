"""The shape of every core that knows time: `now` comes in, effects and the next deadline go out."""

from __future__ import annotations

from typing import Protocol, TypeVar

Effect = TypeVar("Effect")


class Machine(Protocol[Effect]):
    """A state machine without I/O. `now` is seconds of a clock that never goes back (CLOCK_MONOTONIC).

    Typed inputs (methods of the implementing class) and `advance` change the state; whoever calls them takes
    `effects()` afterwards and carries them out in order.
    """

    @property
    def deadline(self) -> float | None:
        """When `advance` wants to be called; None: only an input can change anything."""

    def advance(self, now: float) -> None:
        """Let every timer that is due at `now` fire."""

    def effects(self) -> list[Effect]:
        """What is to be done since the last call, in order; taking it empties it."""
