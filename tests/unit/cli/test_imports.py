# SPDX-License-Identifier: Apache-2.0
"""A verb that asks the director imports nothing that only the director needs: an import costs time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pointsman.cli.main import VERBS

DIRECTOR_ONLY = {
    *("asyncio", "ssl", "email", "dns", "regex", "aiosmtplib", "logging"),
    *("pointsman.conf.load", "pointsman.conf.build", "pointsman.daemon", "pointsman.health.dns"),
    *("pointsman.dataplane.xdp.plane", "pointsman.control.server", "pointsman.vrrp"),
}


def modules_after(imported: str) -> set[str]:
    """Return the modules of a new interpreter after an import."""
    program = f"import sys, {imported}; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("verb", ["status", "ipvsadm", "drain", "weight", "release"])
def test_it_imports_nothing_of_the_director(verb: str) -> None:
    assert not DIRECTOR_ONLY & modules_after(f"pointsman.cli.main, {VERBS[verb][0]}")


@pytest.mark.parametrize("verb", ["status", "ipvsadm", "drain"])
def test_a_verb_without_tables_imports_no_rich(verb: str) -> None:
    assert "rich" not in modules_after(f"pointsman.cli.main, {VERBS[verb][0]}")


def test_vrrp_is_started_without_the_modules_of_other_processes() -> None:
    others = {"asyncio", "dns", "regex", "aiosmtplib", "pointsman.daemon.director.process"}
    assert not others & modules_after("pointsman.daemon.start")
