# SPDX-License-Identifier: Apache-2.0
"""`pointsman realserver persist` as typed: what is shown, what is written, which exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.cli.realserver.command import realserver


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/network").mkdir(parents=True)
    (tmp_path / "etc/network/interfaces").write_text("source /etc/network/interfaces.d/*\n")
    return tmp_path


def persist(root: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        realserver, ["persist", "--root", str(root), "--backend", "ifupdown", *arguments]
    )
    return done.exit_code, done.output


def written(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_dry_run_shows_all_and_writes_nothing(root: Path) -> None:
    exit_code, text = persist(root, "192.168.7.33", "--interface", "eth14", "--dry-run")
    assert exit_code == 0
    assert "+-net.ipv4.conf.eth14.arp_announce = 2" in text
    assert text.endswith("dry run: nothing written\n")
    assert written(root) == ["etc/network/interfaces"]


def test_written_once_and_removed(root: Path) -> None:
    assert persist(root, "192.168.7.33")[1].endswith("for now: pointsman realserver up 192.168.7.33\n")
    assert written(root) == [
        "etc/network/interfaces",
        "etc/network/interfaces.d/pointsman-lo",
        "etc/sysctl.d/99-lvs-dr.conf",
    ]
    assert persist(root, "192.168.7.33") == (0, "nothing to change\n")
    assert persist(root, "--remove")[0] == 0
    assert written(root) == ["etc/network/interfaces"]
    assert persist(root, "--remove") == (0, "nothing to change\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name at least one VIP"),
        (["10.0.0.1/8"], "prefix /32"),
        (["--backend", "x", "10.0.0.1"], "'x' is not one of"),
    ],
)
def test_a_wrong_command_line_exits_2(root: Path, arguments: list[str], said: str) -> None:
    exit_code, text = persist(root, *arguments)
    assert (exit_code, said in text) == (2, True), text


def test_what_stands_in_the_way_exits_1(root: Path) -> None:
    (root / "etc/network/interfaces").write_text("auto lo\n")
    exit_code, text = persist(root, "192.168.7.33")
    assert exit_code == 1
    assert "does not read /etc/network/interfaces.d" in text
    assert written(root) == ["etc/network/interfaces"]
