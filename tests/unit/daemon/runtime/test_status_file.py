# SPDX-License-Identifier: Apache-2.0
"""The status in a file: written whole, and not at all without a director."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pointsman.control.client_messages import StatusReply
from pointsman.control.status import ConfigurationStatus, DataPlaneStatus, Status
from pointsman.daemon.runtime import status_file

STATUS = Status(
    router_id="lb-01",
    uptime=1.0,
    data_plane=DataPlaneStatus("memory"),
    configuration=ConfigurationStatus(None, None, 1, 1.0),
)


def test_the_file_has_the_status_and_goes_at_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_file, "request", lambda _request, _socket: StatusReply(STATUS))
    assert status_file.write_status_file(tmp_path, tmp_path / "control.sock") == 0
    assert json.loads((tmp_path / "status.json").read_text())["router_id"] == "lb-01"
    status_file.remove_status_file(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_director_there_is_a_line_in_the_log_and_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert status_file.write_status_file(tmp_path, tmp_path / "control.sock") == 1
    assert "no director is running here" in caplog.text
    assert list(tmp_path.iterdir()) == []
