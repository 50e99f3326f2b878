# SPDX-License-Identifier: Apache-2.0
"""Pins and run-time files of several directors: inode numbers of namespaces are reused, names are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman.control import paths
from pointsman.lab import namespace


def new_namespace(number: int) -> tuple[int, str]:
    """Inode and name of a namespace that is gone afterwards."""
    made = f"pmt-paths-{os.getpid()}-{number}"
    namespace.create(made)
    try:
        with namespace.entered(made):
            return namespace.inode(made), paths.namespace_name()
    finally:
        namespace.delete(made)


@pytest.mark.root
def test_a_namespace_with_the_inode_of_a_dead_one_has_another_name() -> None:
    made = [new_namespace(number) for number in range(20)]
    assert len({name for _, name in made}) == 20
    assert all(name.startswith(f"net-{inode}-") for inode, name in made)


def test_the_name_stays() -> None:
    assert paths.namespace_name() == paths.namespace_name()


def test_what_predecessors_with_the_same_inode_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "PIN_DIRECTORY", tmp_path / "pins")
    monkeypatch.setattr(paths, "RUN_DIRECTORY", tmp_path / "run")
    inode = os.stat("/proc/self/ns/net").st_ino
    ours = paths.namespace_name()
    names = (ours, f"net-{inode}", f"net-{inode}-1234567", f"net-{inode}9-1", "net-1-1")
    for parent in ("pins", "run"):
        for name in names:
            (tmp_path / parent / name / "links").mkdir(parents=True)
    paths.remove_stale_directories()
    for parent in ("pins", "run"):
        left = {place.name for place in (tmp_path / parent).iterdir()}
        assert left == {ours, f"net-{inode}9-1", "net-1-1"}
    assert {place.name for place in paths.namespace_directories(inode)} == {ours}
