# SPDX-License-Identifier: Apache-2.0
"""The lock of a director: one holder, who is named; no way out of its directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.daemon.runtime.lock import AlreadyRunningError, acquire_lock, release_lock


def test_a_second_lock_names_the_holder(tmp_path: Path) -> None:
    handle = acquire_lock(tmp_path)
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        acquire_lock(tmp_path)
    release_lock(handle, tmp_path)
    assert not tmp_path.exists()
    os.close(acquire_lock(tmp_path))


def test_a_symbolic_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    (run / "pointsman.pid").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        acquire_lock(run)
    assert victim.read_text() == "precious"
