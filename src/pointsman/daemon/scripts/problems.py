# SPDX-License-Identifier: Apache-2.0
"""Present problems of pm-scripts: each is logged when it begins, and the director shows them in `status`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Hashable

MAX_PROBLEMS = 50
"""Problems that are kept. The next ones are only logged."""

log = logging.getLogger("scripts")


class Problems:
    """Problems by their owner."""

    def __init__(self) -> None:
        self._report: Callable[[tuple[str, ...]], None] = lambda _texts: None
        self._texts: dict[Hashable, str] = {}

    def report_to(self, report: Callable[[tuple[str, ...]], None]) -> None:
        """Call this with all problems, now and at each change."""
        self._report = report
        report(tuple(self._texts.values()))

    def set(self, owner: Hashable, text: str) -> None:
        """Log the problem of this owner and report it, unless it is known already."""
        if self._texts.get(owner) == text:
            return
        log.error("%s", text)
        if owner in self._texts or len(self._texts) < MAX_PROBLEMS:
            self._texts[owner] = text
            self._report(tuple(self._texts.values()))

    def keep_only(self, kind: type, owners: Container[object]) -> None:
        """Forget the problems of the owners of this type that are not in `owners`."""
        for owner in [each for each in self._texts if isinstance(each, kind) and each not in owners]:
            self.forget(owner)

    def forget(self, owner: Hashable) -> None:
        """Remove the problem of this owner: it is over."""
        if self._texts.pop(owner, None) is not None:
            self._report(tuple(self._texts.values()))
