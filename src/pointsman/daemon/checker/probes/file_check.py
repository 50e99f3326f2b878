# SPDX-License-Identifier: Apache-2.0
"""FILE_CHECK: read the number in a file."""

from __future__ import annotations

from pointsman.daemon.checker.probes.probe import Outcome, ProbeUnableError, Result
from pointsman.daemon.runtime.tracked_file import FileNumber, NumberReader
from pointsman.lvs.desired import MOST_WEIGHT
from pointsman.model.checks import FileCheck

_files = NumberReader()


async def probe(check: FileCheck) -> Result:
    """Read the file once. Raises ProbeUnableError if its file system does not answer."""
    try:
        return judge(check, await _files.read(check.file))
    except TimeoutError:
        raise ProbeUnableError(f"{check.file.path}: its file system does not answer") from None


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
