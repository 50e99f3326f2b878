"""MISC_CHECK: one run of a program."""

from __future__ import annotations

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, ProbeUnableError, Result
from pointsman.daemon.runtime.run_program import CannotRunError, run_program
from pointsman.model.checks import MiscCheck

LOWEST_DYNAMIC = 2
"""Exit codes from here on are weights, higher by so much."""


async def probe(check: MiscCheck) -> Result:
    """Run the program to its end, or to that of its time. Raises ProbeFailedError and ProbeUnableError."""
    name = check.command.words[0]
    try:
        code = await run_program(check.command, check.timeout, security=check.secure)
    except CannotRunError as error:
        raise ProbeUnableError(str(error)) from None
    if code is None:
        raise ProbeFailedError(f"{name} timed out after {check.timeout:g} s")
    if code == 0:
        return Result(Outcome.PASSED, f"{name} exited with status 0")
    if check.dynamic and code >= LOWEST_DYNAMIC:
        weight = code - LOWEST_DYNAMIC
        return Result(Outcome.PASSED, f"{name} asks for weight {weight}", weight=weight)
    how = f"exited with status {code}" if code > 0 else f"ended by signal {-code}"
    raise ProbeFailedError(f"{name} {how}")
