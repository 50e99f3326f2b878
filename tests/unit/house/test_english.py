# SPDX-License-Identifier: Apache-2.0
"""Docstrings are plain English: they begin with a verb or a noun, not with a fragment of a question."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pointsman

ROOT = Path(pointsman.__file__).parent
FRAGMENT = re.compile(r"(What|Whether|Of)\b")
ROOMS = sorted({path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py")} - {"__init__.py"})


def docstrings(tree: ast.AST, public: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and text of the docstrings of public modules, classes, functions and attributes."""
    before: ast.AST | None = None
    for node in ast.iter_child_nodes(tree):
        named = (
            re.split(r"\W", ast.unparse(before))[0] if isinstance(before, ast.Assign | ast.AnnAssign) else ""
        )
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if public and not named.startswith("_"):
                yield node.lineno, text
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                private = name.startswith("_") and not name.startswith("__")
                yield from docstrings(node, public and not private)
        before = node


def fragments(room: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, text in docstrings(ast.parse(path.read_text()))
        if FRAGMENT.match(text)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_no_public_docstring_begins_with_a_fragment(room: str) -> None:
    assert fragments(room) == []


def test_the_check_itself_sees_every_kind_of_docstring() -> None:
    text = '''
"""Module."""
class Shown:
    """Class."""
    field: int = 0
    """Field."""
    def method(self):
        """Method."""
    def _hidden(self):
        """Hidden method."""
class _Hidden:
    """Hidden class."""
NAME = 1
"""Constant."""
_NAME = 1
"""Hidden constant."""
'''
    assert [found for _, found in docstrings(ast.parse(text))] == [
        "Module.",
        "Class.",
        "Field.",
        "Method.",
        "Constant.",
    ]
    assert FRAGMENT.match("Whether it rains.")
    assert not FRAGMENT.match("Offers of a peer.")
