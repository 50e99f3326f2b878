# SPDX-License-Identifier: Apache-2.0
"""MISC_CHECK: run a program once."""

from __future__ import annotations

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, ProbeUnableError, Result
from pointsman.daemon.runtime.run_program import (
    CannotRunError,
    InsecureProgramError,
    NoResourcesError,
    run_program,
)
from pointsman.model.checks import MiscCheck

LOWEST_DYNAMIC = 2
"""Exit codes from here on are weights (misc_dynamic): weight = exit code - 2."""


async def probe(check: MiscCheck) -> Result:
    """Run the program until it ends or times out. Raises ProbeFailedError and ProbeUnableError.

    As in keepalived, a program that cannot be executed has failed.
    """
    name = check.command.words[0]
    try:
        code = await run_program(check.command, check.timeout, security=check.secure)
    except (InsecureProgramError, NoResourcesError) as error:
        raise ProbeUnableError(str(error)) from None
    except CannotRunError as error:
        raise ProbeFailedError(str(error)) from None
    if code is None:
        raise ProbeFailedError(f"{name} timed out after {check.timeout:g} s")
    if code == 0:
        return Result(Outcome.PASSED, f"{name} exited with status 0")
    if check.dynamic and code >= LOWEST_DYNAMIC:
        weight = code - LOWEST_DYNAMIC
        return Result(Outcome.PASSED, f"{name} asks for weight {weight}", weight=weight)
    text = f"exited with status {code}" if code > 0 else f"ended by signal {-code}"
    raise ProbeFailedError(f"{name} {text}")
