# SPDX-License-Identifier: Apache-2.0
"""Interface of all probes: start, cancel, result."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Coroutine
from typing import NamedTuple, Protocol

log = logging.getLogger("checker")


class Outcome(enum.Enum):
    """Outcome of a probe."""

    PASSED = "passed"
    FAILED = "failed"
    UNABLE = "unable"
    """The probe could not be made because of an error of this host."""


class Result(NamedTuple):
    """Result of a probe."""

    outcome: Outcome
    reason: str
    """Text for log, mail and status."""
    weight_change: int = 0
    """Number that is added to the weight of the real server."""
    weight: int | None = None
    """Weight that replaces the configured one; None: the configured one."""


Finished = Callable[[Result], None]


class Probe(Protocol):
    """A probe. Its `Finished` is called exactly once, possibly before `start` returns."""

    def start(self) -> None:
        """Start the probe."""

    def cancel(self) -> None:
        """Stop the probe without a result."""


class ProbeFailedError(Exception):
    """The check failed because of the real server; the text is the reason."""


class ProbeUnableError(Exception):
    """The check could not be made because of an error of this host; the text is the reason."""


class TaskProbe:
    """A probe that is a coroutine. It returns the result if it passed and raises the errors above."""

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
        """Start the coroutine as a task."""
        self._task = self._loop.create_task(self._body)
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Cancel the task without a result."""
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
            # A defect here must neither remove a real server nor stop the check.
            log.error("internal error in a probe", exc_info=error)
            self._finished(Result(Outcome.UNABLE, f"internal error in a probe: {error!r}"))
