# SPDX-License-Identifier: Apache-2.0
"""Owners of programs that run as root: only root, for the whole path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.daemon.runtime.ownership import Weakness, find_weakness

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of root are made")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@as_root
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_program_that_others_can_write_to(program: Path, mode: int) -> None:
    assert find_weakness(program) is None
    program.chmod(mode)
    assert find_weakness(program) == Weakness(program, "is writable by others than root")


@as_root
def test_a_folder_in_which_others_can_put_another_program(program: Path) -> None:
    program.parent.chmod(0o777)
    assert find_weakness(program) == Weakness(program.parent, "is writable by others than root")
    program.parent.chmod(0o1777)  # as /tmp: nobody can replace what belongs to root there
    assert find_weakness(program) is None


@as_root
def test_a_program_of_another_user_behind_a_link(program: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(program)
    os.chown(program, 65534, 0)
    weakness = find_weakness(link)
    assert weakness is not None
    assert str(weakness) == f"{program} is owned by user 65534"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_weakness(tmp_path / "nothing")
