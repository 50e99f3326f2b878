# SPDX-License-Identifier: Apache-2.0
"""MISC_CHECK with a program that cannot be executed: it has failed, as in keepalived."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pointsman.daemon.checker.probes import misc_check
from pointsman.daemon.checker.probes.probe import ProbeFailedError, ProbeUnableError
from pointsman.daemon.runtime.run_program import InsecureProgramError, NoResourcesError
from pointsman.model.checks import MiscCheck
from pointsman.model.tracking import Command


def check_of(path: Path) -> MiscCheck:
    return MiscCheck(command=Command((str(path),)), timeout=5.0)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (None, 0, "No such file or directory"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("#!/nowhere\n", 0o755, "No such file or directory"),
        ("no program", 0o755, "Exec format error"),
    ],
)
def test_it_has_failed_with_the_reason(tmp_path: Path, text: str | None, mode: int, reason: str) -> None:
    path = tmp_path / "program"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ProbeFailedError, match=f"cannot run {path}: {reason}"):
        asyncio.run(misc_check.probe(check_of(path)))


@pytest.mark.parametrize("kind", [InsecureProgramError, NoResourcesError])
def test_trouble_of_this_host_says_nothing_about_the_real_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    async def refuse(*_: object, **__: object) -> int:
        raise kind("no room")

    monkeypatch.setattr(misc_check, "run_program", refuse)
    with pytest.raises(ProbeUnableError, match="no room"):
        asyncio.run(misc_check.probe(check_of(tmp_path)))
