# SPDX-License-Identifier: Apache-2.0
"""Interfaces of the data plane: attached again when they come back, with their problems logged once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.dataplane.interface import DataPlane

log = logging.getLogger("director")


class Interfaces:
    """Follows the interfaces of a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._once = LogOnce(log)
        self.problems: Sequence[str] = ()
        """Problems found by the last `follow`."""

    def follow(self) -> None:
        """Attach to interfaces that have come back."""
        try:
            problems = self._plane.follow_interfaces()
        except OSError as error:
            problems = [f"cannot follow the interfaces: {error}"]
        for problem in problems:
            self._once.error(problem, "%s", problem)
        self._once.keep_only(problems)
        self.problems = problems
