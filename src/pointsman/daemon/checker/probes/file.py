"""FILE_CHECK: a look at the number in a file."""

from __future__ import annotations

from pointsman.daemon.checker.probes.probe import Finished, Outcome, Result
from pointsman.daemon.runtime.tracked_file import file_value
from pointsman.lvs.desired import MOST_WEIGHT
from pointsman.model.checks import FileCheck


class FileProbe:
    """One look."""

    def __init__(self, check: FileCheck, finished: Finished) -> None:
        self._check = check
        self._finished = finished

    def start(self) -> None:
        """Look."""
        self._finished(judge(self._check, file_value(self._check.file)))

    def cancel(self) -> None:
        """It is over before anybody could."""


def judge(check: FileCheck, number: int) -> Result:
    """What a number means: with weight 0 whether the real server is up, else what its weight changes by."""
    told = f"{check.file.path} says {number}"
    if check.weight == 0:
        good = (number == 0) is not check.reverse
        return Result(Outcome.PASSED if good else Outcome.FAILED, told)
    change = number * (-check.weight if check.reverse else check.weight)
    if change < -MOST_WEIGHT:
        return Result(Outcome.FAILED, told)
    return Result(Outcome.PASSED, told, change)
