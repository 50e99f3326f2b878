# SPDX-License-Identifier: Apache-2.0
"""scripts/install below a staging root: nothing of this host is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

INSTALL = Path(__file__).parents[3] / "scripts/install"
ENVIRONMENT = Path(sys.prefix)
UNITS = ("pointsman", "pointsman-realserver")


def install(
    root: Path, *arguments: str | Path, exit_code: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [INSTALL, *arguments],
        env={**os.environ, "DESTDIR": str(root), "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir() or path.is_symlink()]


def test_staged_and_taken_away(tmp_path: Path) -> None:
    install(tmp_path, "--environment", ENVIRONMENT)
    assert (tmp_path / "usr/local/bin/pointsman").readlink() == ENVIRONMENT / "bin/pointsman"
    for unit in UNITS:
        assert (
            "ExecStart=/usr/local/bin/pointsman "
            in (tmp_path / f"etc/systemd/system/{unit}.service").read_text()
        )
        assert (tmp_path / "etc/default" / unit).is_file()
    install(tmp_path, "--uninstall")
    assert files(tmp_path) == []


def test_without_the_bpf_program_nothing_is_put_in_place(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    copied = checkout / "scripts/install"
    copied.write_bytes(INSTALL.read_bytes())
    copied.chmod(0o755)
    root = tmp_path / "root"
    done = subprocess.run(
        [copied], env={**os.environ, "DESTDIR": str(root)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the BPF program is not built: run 'make -C bpf'" in done.stderr
    assert not root.exists()


def test_another_place_is_named_in_the_units(tmp_path: Path) -> None:
    install(tmp_path, "--environment", ENVIRONMENT, BINDIR="/usr/bin", UNITDIR="/usr/lib/systemd/system")
    for unit in UNITS:
        text = (tmp_path / f"usr/lib/systemd/system/{unit}.service").read_text()
        assert "/usr/local" not in text
        assert "ExecStart=/usr/bin/pointsman " in text


def test_settings_that_were_changed_survive_both_ways(tmp_path: Path) -> None:
    settings = tmp_path / "etc/default/pointsman-realserver"
    settings.parent.mkdir(parents=True)
    settings.write_text('VIPS="192.168.7.33"\n')
    install(tmp_path, "--environment", ENVIRONMENT)
    install(tmp_path, "--uninstall")
    assert files(tmp_path) == [settings]
    assert settings.read_text() == 'VIPS="192.168.7.33"\n'


def test_a_prefix_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "opt/pointsman/precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    done = install(tmp_path, exit_code=1)
    assert "is not a Python environment" in done.stderr
    install(tmp_path, "--uninstall")
    assert files(tmp_path) == [precious]


def test_an_environment_without_the_program_is_refused(tmp_path: Path) -> None:
    assert "is not there" in install(tmp_path, "--environment", tmp_path, exit_code=1).stderr
    assert files(tmp_path) == []


@pytest.mark.slow
def test_an_environment_of_its_own_holds_the_program(tmp_path: Path) -> None:
    reachable = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            tmp_path / "probe",
            "setuptools",
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    if reachable.returncode != 0:
        pytest.skip(f"pip reaches no package index: {reachable.stderr.strip()[-200:]}")
    root = tmp_path / "root"
    install(root)
    program = root / "opt/pointsman/bin/pointsman"
    assert program.read_text().splitlines()[0].startswith("#!/opt/pointsman/bin/python")
    help_text = subprocess.run(
        [root / "opt/pointsman/bin/python", program, "realserver", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout
    assert "VIP on lo" in help_text
    install(root, "--uninstall")
    assert files(root) == []
