# SPDX-License-Identifier: Apache-2.0
"""Run the checks that need no root with every supported version of Python: `nox`, or `nox -s unit-3.12`.

A version that this machine does not have is skipped, and the last lines of the output say so.
"""

from __future__ import annotations

import nox

PYTHONS = ["3.11", "3.12", "3.13"]

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """Run the tests that need no root. Arguments after -- go to pytest."""
    session.install("--quiet", "--editable", ".[dev]")
    tests = session.posargs or ["tests/unit", "tests/property", "tests/machines"]
    session.run("pytest", "-n", "auto", "-m", "not root and not slow", *tests)


@nox.session(python=PYTHONS)
def types(session: nox.Session) -> None:
    """Check the types as this version of Python sees them."""
    session.install("--quiet", "--editable", ".[dev]")
    session.run("mypy", "--python-version", str(session.python))
