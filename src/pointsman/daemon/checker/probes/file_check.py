# SPDX-License-Identifier: Apache-2.0
"""FILE_CHECK: read the number in a file."""

from __future__ import annotations

from pointsman.daemon.checker.probes.probe import Finished, Outcome, Result
from pointsman.daemon.runtime.tracked_file import FileNumber, read_number
from pointsman.lvs.desired import MOST_WEIGHT
from pointsman.model.checks import FileCheck


class FileProbe:
    """Reads the file once."""

    def __init__(self, check: FileCheck, finished: Finished) -> None:
        self._check = check
        self._finished = finished

    def start(self) -> None:
        """Read the file and report the result at once."""
        self._finished(judge(self._check, read_number(self._check.file)))

    def cancel(self) -> None:
        """Do nothing: `start` has already reported the result."""


def judge(check: FileCheck, found: FileNumber) -> Result:
    """Return the result of a number: with weight 0 passed or failed, else a change of weight."""
    number = found.value
    reason = f"{check.file.path} contains {number}"
    if found.problem:
        reason = f"{check.file.path} counts as {number}: {found.problem}"
    if check.weight == 0:
        good = (number == 0) is not check.reverse
        return Result(Outcome.PASSED if good else Outcome.FAILED, reason)
    change = number * (-check.weight if check.reverse else check.weight)
    if change < -MOST_WEIGHT:
        return Result(Outcome.FAILED, reason)
    return Result(Outcome.PASSED, reason, change)
