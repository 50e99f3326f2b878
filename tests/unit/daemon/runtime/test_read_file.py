# SPDX-License-Identifier: Apache-2.0
"""Files that never end, file systems that never answer, and directories among includes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pointsman.cli.loading import load_file
from pointsman.conf.text.problems import ConfError
from pointsman.daemon.runtime import read_file
from pointsman.daemon.runtime.read_file import DiskReader


def test_a_regular_file_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc/kmsg is: without data a read would wait, and O_NONBLOCK makes it return nothing."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    os.write(writing, b"a line")
    regular = tmp_path / "kmsg"
    regular.touch()
    status = regular.stat()
    monkeypatch.setattr(os, "open", lambda _path, _flags: reading)
    monkeypatch.setattr(os, "fstat", lambda _descriptor: status)
    with pytest.raises(OSError, match="not a file that ends"):
        DiskReader().read(str(regular), 100)
    os.close(writing)


def test_a_file_system_that_never_answers_is_given_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, asked = threading.Event(), []

    def hang(path: str, _limit: int) -> bytes:
        if "dead" not in path:
            return Path(path).read_bytes()
        asked.append(path)
        end.wait(60)
        return b""

    monkeypatch.setattr(read_file, "PATIENCE", 0.2)
    monkeypatch.setattr(read_file, "read_regular", hang)
    for name in ("dead1", "dead2"):
        (tmp_path / name).touch()
    main = tmp_path / "main.conf"
    main.write_text("include dead*\n")
    with pytest.raises(ConfError, match="its file system does not answer within") as told:
        load_file(main)
    end.set()
    assert len(told.value.problems) == 2
    assert len(asked) <= 2


def test_directories_among_includes_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "x.conf").touch()
    assert DiskReader().matches(str(tmp_path / "d" / "*")) == [str(tmp_path / "d" / "x.conf")]
