# SPDX-License-Identifier: Apache-2.0
"""The version stands in one place."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pointsman

ROOT = Path(__file__).parents[3]


def test_the_package_and_what_pip_installed_have_the_same_version() -> None:
    assert metadata.version("pointsman") == pointsman.__version__


def test_pyproject_has_no_version_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "pointsman.__version__"}


def test_nox_runs_every_version_that_pyproject_names() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [line.rpartition(" ")[2] for line in classifiers if line.startswith("Programming Language")]
    assert f"PYTHONS = {named}".replace("'", '"') in (ROOT / "noxfile.py").read_text()
