# SPDX-License-Identifier: Apache-2.0
"""Shared test code is in modules without tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
MODULES = sorted(TESTS.rglob("*.py"))


def imported(text: str) -> set[str]:
    """Return the full names of all that a module may import; no module of tests imports relatively."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found |= {f"{node.module}", *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def holds_tests(name: str) -> bool:
    """True if pytest collects tests of a module."""
    path = TESTS.parent.joinpath(*name.split("."))
    return path.name.startswith("test_") and path.with_suffix(".py").exists()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_one_that_holds_tests(module: Path) -> None:
    assert [name for name in sorted(imported(module.read_text())) if holds_tests(name)] == []


def test_every_way_to_import_one_is_found() -> None:
    own = ".".join(Path(__file__).relative_to(TESTS.parent).with_suffix("").parts)
    folder, _, name = own.rpartition(".")
    for text in (f"import {own}", f"from {own} import TESTS", f"from {folder} import {name}"):
        assert any(map(holds_tests, imported(text))), text
