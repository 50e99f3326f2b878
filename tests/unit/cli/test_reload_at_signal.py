# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: a refused or hanging reload is told to the director, which logs it, and nothing is printed."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pointsman.cli import reload as module
from pointsman.cli.loading import EXIT_ERRORS
from pointsman.control.client import ControlError
from pointsman.control.client_messages import (
    ReloadRefused,
    ReloadReply,
    ReloadRequest,
    StatusReply,
    StatusRequest,
)
from pointsman.control.status import ConfigurationStatus, DataPlaneStatus, Status

STATE = Status(
    router_id="lb-01",
    uptime=1.0,
    data_plane=DataPlaneStatus(name="xdp"),
    configuration=ConfigurationStatus(file="", config_id=None, generation=1, seconds=1.0),
)


class FakeDirector:
    """Takes the requests in place of a director."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.reloads = 0
        self.is_deaf = False

    def request(self, message: object, *_: object, **__: object) -> Any:
        if isinstance(message, StatusRequest):
            return StatusReply(STATE)
        if self.is_deaf:
            raise ControlError("no answer")
        if isinstance(message, ReloadRefused):
            self.refused += message.problems
        self.reloads += isinstance(message, ReloadRequest)
        return ReloadReply((), 1)


@pytest.fixture
def director(monkeypatch: pytest.MonkeyPatch) -> FakeDirector:
    made = FakeDirector()
    monkeypatch.setattr(module, "request", made.request)
    return made


def test_reading_that_hangs_is_given_up(
    director: FakeDirector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_READING", 0.05)
    monkeypatch.setattr(module, "load_file", lambda *_, **__: time.sleep(60))
    assert module.reload_at_signal(tmp_path / "a.conf") == module.EXIT_NOT_TAKEN
    assert director.refused == [f"reading {tmp_path}/a.conf was given up after 0.05 s"]


def test_the_limit_ends_with_the_reading(director: FakeDirector, tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("global_defs {\n}\n")
    assert module.reload_at_signal(path) == 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert director.reloads == 1


@pytest.mark.parametrize("is_deaf", [False, True])
def test_errors_are_shown_once(
    director: FakeDirector, tmp_path: Path, capfd: pytest.CaptureFixture[str], is_deaf: bool
) -> None:
    path = tmp_path / "a.conf"
    path.write_text("vrrp_instance A {\n}\n")
    director.is_deaf = is_deaf
    assert module.reload_at_signal(path) == EXIT_ERRORS
    assert bool(director.refused) is not is_deaf
    assert ("nothing was changed" in capfd.readouterr().err) is is_deaf
