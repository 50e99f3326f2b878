"""What all probes have in common: how they begin, and how they end."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Coroutine
from typing import NamedTuple, Protocol

log = logging.getLogger("checker")


class Outcome(enum.Enum):
    """How a probe ends."""

    PASSED = "passed"
    FAILED = "failed"
    UNABLE = "unable"
    """It could not be made, for a reason of our own host."""


class Result(NamedTuple):
    """The end of a probe."""

    outcome: Outcome
    reason: str
    """For people."""
    weight_change: int = 0
    """What a check that measures adds to the real server's weight."""
    weight: int | None = None
    """What takes the place of the configured weight; None: the configured one holds."""


Finished = Callable[[Result], None]


class Probe(Protocol):
    """A probe in progress; its `Finished` is called exactly once, possibly before `start` returns."""

    def start(self) -> None:
        """Begin."""

    def cancel(self) -> None:
        """Give up without an outcome."""


class ProbeFailedError(Exception):
    """The real server did not do what the check wants; the text is the reason."""


class ProbeUnableError(Exception):
    """Our own host could not do what the check wants; the text is the reason."""


class TaskProbe:
    """A probe that is a coroutine: it returns the result of a success and raises the errors above."""

    def __init__(
        self,
        body: Coroutine[object, object, Result],
        loop: asyncio.AbstractEventLoop,
        finished: Finished,
    ) -> None:
        self._body = body
        self._loop = loop
        self._finished = finished
        self._task: asyncio.Task[Result] | None = None

    def start(self) -> None:
        """Run the coroutine."""
        self._task = self._loop.create_task(self._body)
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Cancel it; nobody is told."""
        if self._task is not None:
            self._task.remove_done_callback(self._ended)
            self._task.cancel()

    def _ended(self, task: asyncio.Task[Result]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._finished(task.result())
        elif isinstance(error, ProbeFailedError):
            self._finished(Result(Outcome.FAILED, str(error)))
        elif isinstance(error, ProbeUnableError):
            self._finished(Result(Outcome.UNABLE, str(error)))
        else:
            # A mistake of ours must neither remove a real server nor end the check.
            log.error("a probe has broken down", exc_info=error)
            self._finished(Result(Outcome.UNABLE, f"the probe has broken down: {error!r}"))
