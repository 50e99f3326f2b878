# SPDX-License-Identifier: Apache-2.0
"""Every file of code says its licence in its first line (LICENSES/README.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
APACHE = "SPDX-License-Identifier: Apache-2.0"
DUAL = "SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause"
FOLDERS = ("src", "tests", "benchmarks")

PYTHON = [ROOT / "noxfile.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
SCRIPTS = [
    *(ROOT / "scripts").iterdir(),
    ROOT / ".ci" / "run",
    ROOT / "tests" / "lab" / "director" / "boot-systemd",
]
BPF = [*(ROOT / "bpf").glob("*.[ch]"), *(ROOT / "benchmarks").glob("*.bpf.c")]


def first_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()[:2]


@pytest.mark.parametrize("path", sorted(PYTHON), ids=lambda path: str(path.relative_to(ROOT)))
def test_python_is_under_apache(path: Path) -> None:
    assert first_lines(path)[:1] == [f"# {APACHE}"]


@pytest.mark.parametrize("path", sorted(SCRIPTS), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_says_it_below_its_interpreter(path: Path) -> None:
    interpreter, licence = first_lines(path)
    assert interpreter.startswith("#!") and licence == f"# {APACHE}"


@pytest.mark.parametrize("path", sorted(BPF), ids=lambda path: str(path.relative_to(ROOT)))
def test_bpf_is_under_two_licences(path: Path) -> None:
    assert first_lines(path)[0] in {f"/* {DUAL} */", f"// {DUAL}"}


def test_the_texts_of_the_licences_are_here() -> None:
    names = {path.stem for path in (ROOT / "LICENSES").glob("*.txt")}
    assert names == {"Apache-2.0", "GPL-2.0-only", "BSD-3-Clause"}


def test_there_are_files_of_each_kind() -> None:
    assert len(PYTHON) > 400 and len(SCRIPTS) >= 5 and len(BPF) > 30
