# SPDX-License-Identifier: Apache-2.0
"""Documentation can be typed: verbs, options, files and links in it exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pointsman.cli.main import VERBS

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "bpf" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACES = ("", "src/pointsman", "src/pointsman/dataplane/xdp", "src/pointsman/trace", "docs", "bpf")
IPVSADM = "ipvsadm"
"""Has a grammar of its own, which its own tests hold to the real one."""


TOUR = (ROOT / "CONTRIBUTING.md").read_text().partition("## A tour\n")[2].partition("\n## ")[0]


def tour_rows() -> list[tuple[str, str, str]]:
    """Return question, file and what to read first from the table of the tour."""
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| (.+?) \|$", TOUR, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\|", TOUR, re.MULTILINE)) - 2, "a row has no file in `...`"
    return rows


def defines(path: Path, name: str) -> bool:
    """True if a file of Python or C defines a function, a class or a table of this name."""
    patterns = (
        rf"^\s*(?:async )?(?:def|class) {name}\b",
        rf"^{name}\b.*=",
        rf"^(?!\s|/|#|\}}).*\b{name}\((?!.*;$)",
    )
    return any(re.search(pattern, path.read_text(), re.MULTILINE) for pattern in patterns)


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `pointsman` on code lines and in inline code, up to a comment or the next command."""
    for line in re.findall(r"(?:^ {4}|`)(?:\.venv/bin/)?pointsman ([^`\n]*)", text, re.MULTILINE):
        yield re.split(r"\s*;|\s+[#|&>]|\s--\s|\s{2,}", line)[0].split()


def problem(words: list[str]) -> str:
    """Return the error in a command line of a page; empty: none."""
    if not words or words[0].isupper() or words[0].startswith(("-", "…")) or words[0] == IPVSADM:
        return ""
    verbs = words[0].split("|")
    unknown = [verb for verb in verbs if verb not in VERBS]
    if unknown:
        return f"no verb {unknown[0]}"
    module, attribute, _ = VERBS[verbs[0]]
    command: click.Command = getattr(importlib.import_module(module), attribute)
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words[1:]:
        inner = word.split("|")[0]
        if isinstance(command, click.Group) and inner in command.commands:
            command = command.commands[inner]
            known |= {option for parameter in command.params for option in parameter.opts}
    options = [word.strip("[].,)").partition("=")[0] for word in words[1:] if re.match(r"\[?-[-a-z]", word)]
    return next((f"{option} is no option" for option in options if option not in known), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_links_and_files_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    wrong = [f"pointsman {' '.join(words)}: {said}" for words in commands(text) if (said := problem(words))]
    wrong += [
        f"no file {name}"
        for name in re.findall(r"`([a-z0-9_/]+/[a-z0-9_]+(?:\.bpf)?\.(?:py|h|c|md))`", text)
        if not any((ROOT / place / name).exists() for place in PLACES)
    ]
    wrong += [
        f"no link {name}"
        for name in re.findall(r"\]\(([^)#:]+)\)", text)
        if not (page.parent / name).exists()
    ]
    assert wrong == []


@pytest.mark.parametrize(("question", "file", "first"), tour_rows(), ids=lambda value: value)
def test_the_tour_names_files_and_what_they_define(question: str, file: str, first: str) -> None:
    path = ROOT / file if file.startswith(("bpf/", "docs/")) else ROOT / "src" / "pointsman" / file
    assert path.is_file(), f"{question} No file {file}"
    missing = [name for name in re.findall(r"`(\w+)`", first) if not defines(path, name)]
    assert missing == [], f"{question} Not in {file}"


def test_the_tour_s_check_finds_what_a_file_only_uses() -> None:
    assert defines(ROOT / "bpf" / "flows.h", "first_packet")
    assert not defines(ROOT / "bpf" / "director4.h", "first_packet")
    assert defines(ROOT / "src" / "pointsman" / "vrrp" / "wire.py", "decode")
    assert not defines(ROOT / "src" / "pointsman" / "vrrp" / "admission.py", "decode")


def test_the_check_itself_finds_what_is_wrong() -> None:
    assert list(commands("    pointsman run -f x   # c\nsay `pointsman up|down RIP` now")) == [
        ["run", "-f", "x"],
        ["up|down", "RIP"],
    ]
    assert problem(["frobnicate"]) == "no verb frobnicate"
    assert problem(["run", "--nope"]) == "--nope is no option"
    assert problem(["lab", "--prefix", "x", "faults", "--run"]) == ""
