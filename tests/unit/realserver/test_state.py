# SPDX-License-Identifier: Apache-2.0
"""The memory of `up`: never half a file, never another namespace's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pointsman.realserver import state
from pointsman.realserver.facts import SetupError
from pointsman.realserver.state import Change, State

KNOWN = State(
    namespace="boot/1",
    was_there={"192.168.7.33": False, "fd00::9": True},
    sysctls={"net.ipv4.conf.all.arp_ignore": Change(before=0, written=1)},
    interfaces=["eth14"],
    lo_was_down=True,
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state.save(tmp_path, KNOWN)
    assert state.load(tmp_path, "boot/1") == KNOWN
    assert [path.name for path in tmp_path.iterdir()] == [state.FILE_NAME]


def test_another_boot_or_namespace_starts_from_nothing(tmp_path: Path) -> None:
    state.save(tmp_path, KNOWN)
    assert state.load(tmp_path, "boot/2") == State(namespace="boot/2")
    assert state.load(tmp_path / "none", "boot/1") == State(namespace="boot/1")


@pytest.mark.parametrize("text", ["", "{", '{"namespace": 3}', '{"namespace": "boot/1", "more": 1}'])
def test_a_damaged_file_is_an_error_not_a_guess(tmp_path: Path, text: str) -> None:
    (tmp_path / state.FILE_NAME).write_text(text)
    with pytest.raises(SetupError, match=r"realserver\.json is damaged"):
        state.load(tmp_path, "boot/1")


def test_the_lock_leaves_no_empty_directory_but_keeps_a_full_one(tmp_path: Path) -> None:
    empty, full = tmp_path / "a" / "empty", tmp_path / "full"
    with state.locked(empty):
        assert empty.is_dir()
    assert not empty.exists()
    with state.locked(full):
        state.save(full, KNOWN)
    assert state.load(full, "boot/1") == KNOWN


def test_two_runs_wait_for_each_other_though_the_directory_is_removed_in_between(tmp_path: Path) -> None:
    directory, inside = tmp_path / "run", 0
    worst = 0

    def work() -> None:
        nonlocal inside, worst
        for _ in range(200):
            with state.locked(directory):
                inside += 1
                worst = max(worst, inside)
                assert directory.is_dir()
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert worst == 1
    assert not directory.exists()
