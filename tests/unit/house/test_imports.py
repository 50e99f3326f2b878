# SPDX-License-Identifier: Apache-2.0
"""Import rules between packages: the walls of the house (docs/architecture.md)."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import pointsman

ROOT = Path(pointsman.__file__).parent

FLOORS = [
    {"model", "packets"},
    {"vrrp", "bfd", "health", "lvs", "sync"},
    {"conf"},
    {"dataplane", "net"},
    {"control"},
    {"realserver", "daemon"},
    {"doctor"},
    {"trace"},
    {"lab"},
    {"cli"},
]
"""A room may import itself and any room of a floor before its own."""

EXCEPTIONS: set[tuple[str, str]] = set()
"""Other edges between rooms. One that nothing uses is a failure."""

CORES = {"model", "packets", "conf", "vrrp", "bfd", "health", "lvs", "sync"}
FORBIDDEN_IN_CORES = {"asyncio", "socket", "time", "os", "random", "subprocess", "logging"}

STAGES = {
    "conf": ["text", "keywords", "build", "check", "show"],
    "doctor": ["firewall", "rules", "gather"],
}
"""Inner rooms that follow each other: one may import those before it, not those after."""

APART = {"daemon": {"director", "checker", "vrrp", "bfd", "scripts", "sync"}}
"""Inner rooms that do not import each other: processes, which talk by messages only."""

USES = {("scripts", "checker")}
"""Inner rooms that use another's classes all the same: MISC_CHECK has the checker's schedule."""

MOST_FILES = 20
"""Files of one folder's own."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def at_run_time(tree: ast.AST) -> list[ast.AST]:
    """Return all nodes but those that only a type checker sees."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            found += [node, *at_run_time(node)]
    return found


PATHS = sorted(ROOT.rglob("*.py"))
MODULES = {module_name(path): path for path in PATHS}


def imports(path: Path, *, run_time: bool = False) -> set[str]:
    """Return the modules that a file imports, by full name; of our own, the module and not its member."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in at_run_time(tree) if run_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = members & MODULES.keys()
            found |= inside
            if len(inside) < len(members):
                found.add(node.module)
    return found


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def edges() -> set[tuple[str, str]]:
    """Return all imports of one room by another."""
    found = set()
    for path in PATHS:
        parts = path.relative_to(ROOT).parts
        for name in imports(path) if len(parts) > 1 else ():
            pieces = name.split(".")
            if pieces[0] == "pointsman" and len(pieces) > 1 and pieces[1] != parts[0]:
                found.add((parts[0], pieces[1]))
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_its_floor_allows(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if len(parts) == 1:
        return
    room = parts[0]
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] == "pointsman" and len(pieces) > 1:
            other = pieces[1]
            assert other == room or floor(other) < floor(room) or (room, other) in EXCEPTIONS, (
                f"{path.relative_to(ROOT)} imports {name}"
            )
        if room in CORES:
            assert pieces[0] not in FORBIDDEN_IN_CORES, f"core {path.relative_to(ROOT)} imports {name}"


def test_every_exception_is_needed() -> None:
    assert edges() >= EXCEPTIONS


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: imports(path, run_time=True) & MODULES.keys() - {name} for name, path in MODULES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def inner_room(name: str, room: str) -> str | None:
    pieces = name.split(".")
    return pieces[2] if pieces[:2] == ["pointsman", room] and len(pieces) > 3 else None


@pytest.mark.parametrize("room", STAGES)
def test_a_stage_imports_only_stages_before_it(room: str) -> None:
    order = STAGES[room]
    for name, path in MODULES.items():
        own = inner_room(name, room)
        for other in imports(path) if own in order else ():
            place = inner_room(other, room)
            assert place is None or order.index(place) <= order.index(str(own)), f"{name} imports {other}"


@pytest.mark.parametrize("room", APART)
def test_processes_do_not_import_each_other(room: str) -> None:
    for name, path in MODULES.items():
        own = inner_room(name, room)
        for other in imports(path) if own in APART[room] else ():
            place = inner_room(other, room)
            assert place not in APART[room] - {own} or (own, place) in USES, f"{name} imports {other}"


def test_no_room_without_a_meaning() -> None:
    vague = {"utils", "util", "common", "base", "helpers", "helper", "misc"}
    assert not [path for path in ROOT.rglob("*") if path.stem in vague]


def test_no_folder_is_a_drawer() -> None:
    folders = {path.parent for path in PATHS}
    crowded = {
        str(folder.relative_to(ROOT)): number
        for folder in folders
        if (number := len([path for path in folder.glob("*.py") if path.stem != "__init__"])) > MOST_FILES
    }
    assert not crowded


def test_the_walk_sees_the_house() -> None:
    assert len(MODULES) > 20
    assert ("cli", "daemon") in edges()
