"""Who may import whom: the walls of the house (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pointsman

ROOT = Path(pointsman.__file__).parent

FLOORS = [
    {"model"},
    {"conf", "vrrp", "bfd", "health", "lvs"},
    {"dataplane", "net"},
    {"realserver", "insight", "daemon", "lab"},
    {"cli"},
]
"""A room may import its own floor's own room and any room of a floor before."""

CORES = {"model", "conf", "vrrp", "bfd", "health", "lvs"}
FORBIDDEN_IN_CORES = {"asyncio", "socket", "time", "os", "random", "subprocess", "logging"}
ALLOWED_ACROSS = {
    ("lab", "insight"),
    ("lab", "realserver"),
    ("lab", "daemon"),
    ("insight", "daemon"),
    ("conf", "health"),  # whether a regular expression is one is known where it is used
    ("net", "dataplane"),  # the neighbour watcher makes NextHop values of the data plane's interface
}
"""Same-floor edges that exist on purpose."""


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_its_floor_allows(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if len(parts) == 1:
        return
    room = parts[0]
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] == "pointsman" and len(pieces) > 1:
            other = pieces[1]
            assert other == room or floor(other) < floor(room) or (room, other) in ALLOWED_ACROSS, (
                f"{path.relative_to(ROOT)} imports {name}"
            )
        if room in CORES:
            assert pieces[0] not in FORBIDDEN_IN_CORES, f"core {path.relative_to(ROOT)} imports {name}"


def test_no_room_without_a_meaning() -> None:
    vague = {"utils", "util", "common", "base", "helpers", "helper", "misc"}
    assert not [path for path in ROOT.rglob("*") if path.stem in vague]


def test_the_walk_sees_the_house() -> None:
    assert len(MODULES) > 20
