# SPDX-License-Identifier: Apache-2.0
"""The folder of the pins: only that of a director is trusted, and only that of the host outlives a kill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel.pins import check_owner, outlive_a_kill


def test_a_folder_of_another_user_is_refused_with_its_owner(tmp_path: Path) -> None:
    place = tmp_path / "pointsman" / "net-1"
    check_owner(place, os.geteuid())
    place.mkdir(parents=True)
    check_owner(place, os.geteuid())
    if os.geteuid() == 0:
        os.chown(place.parent, 12345, 12345)
        with pytest.raises(DataPlaneError, match=f"{place.parent} was made by user 12345"):
            check_owner(place, 0)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pointsman").write_text("")
    with pytest.raises(DataPlaneError, match="not by a director"):
        check_owner(tmp_path / "pointsman" / "net-1", os.geteuid())


def test_pins_outlive_a_kill_if_process_1_has_their_file_system(tmp_path: Path) -> None:
    own = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    line = "36 35 {} / /sys/fs/bpf rw,nosuid - bpf bpf rw,mode=700\n"
    mounts.write_text(line.format(f"{os.major(own)}:{os.minor(own)}"))
    assert outlive_a_kill(tmp_path / "pointsman" / "net-1", mounts)
    mounts.write_text(line.format(f"{os.major(own)}:{os.minor(own) + 1}"))
    assert not outlive_a_kill(tmp_path / "pointsman" / "net-1", mounts)
    assert outlive_a_kill(tmp_path, tmp_path / "none"), "unknown is no warning"
