# SPDX-License-Identifier: Apache-2.0
"""State file of a VRRP instance: the last advert before a crash."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pointsman.daemon.vrrp.state_file import StateFile


def test_a_new_process_finds_the_last_advert_of_the_former(tmp_path: Path) -> None:
    former = StateFile(tmp_path, "eth0", 51)
    assert former.last_advert() is None
    former.record_advert(1000.25)
    former.record_advert(1001.25)
    assert StateFile(tmp_path, "eth0", 51).last_advert() == 1001.25
    assert StateFile(tmp_path, "eth0", 52).last_advert() is None


def test_whoever_is_no_longer_master_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    state_file = StateFile(tmp_path, "eth0", 51)
    state_file.record_advert(1000.0)
    state_file.record_not_master()
    assert StateFile(tmp_path, "eth0", 51).last_advert() is None


def test_a_stop_in_order_leaves_no_file(tmp_path: Path) -> None:
    StateFile(tmp_path, "eth0", 51).remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"another!" + bytes(8), b"PMVRRP1\0" + b"\xff" * 8])
def test_a_damaged_record_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vrrp-eth0-51.state").write_bytes(content)
    assert StateFile(tmp_path, "eth0", 51).last_advert() is None


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("unharmed")
    (tmp_path / "vrrp-eth0-51.state").symlink_to(target)
    state_file = StateFile(tmp_path, "eth0", 51)
    state_file.record_advert(1000.0)
    assert state_file.last_advert() is None
    assert target.read_text() == "unharmed"


def test_a_file_that_cannot_be_opened_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "run"
    directory.write_text("no directory")
    state_file = StateFile(directory, "eth0", 51)
    assert state_file.last_advert() is None
    for second in range(5):
        state_file.record_advert(1000.0 + second)
        state_file.record_not_master()
    assert len(caplog.messages) == 1 and f"{directory}/vrrp-eth0-51.state" in caplog.text
    directory.unlink()
    state_file.record_advert(1009.0)
    assert not directory.exists(), "too early"
    state_file.record_advert(1010.0)
    assert StateFile(directory, "eth0", 51).last_advert() == 1010.0
    state_file.remove()
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("call", ["pwrite", "pread"])
def test_a_file_system_that_refuses_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    state_file = StateFile(tmp_path, "eth0", 51)
    monkeypatch.setattr(os, call, refuse)
    for second in range(3):
        state_file.record_advert(1000.0 + second)
        assert state_file.last_advert() is None or call == "pwrite"
    assert caplog.messages == [
        f"cannot {call[1:]} {tmp_path}/vrrp-eth0-51.state: No space left on device; "
        "a crash would end in a restart as backup"
    ]
