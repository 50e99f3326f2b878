# SPDX-License-Identifier: Apache-2.0
"""Files are named by words of the field or of the glossary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src" / "pointsman"
FOLDERS = [*(PACKAGE / room for room in ("daemon", "doctor", "trace", "conf")), ROOT / "bpf"]
PROGRAMS = {".py", ".c", ".h"}
EXPLAINED, _, PLAIN = (ROOT / "docs" / "glossary.md").read_text().partition("## Plain words")


def terms() -> list[str]:
    """Return the terms that are explained, in small letters."""
    return [term.lower() for term in re.findall(r"\*\*(.+?)\*\*", EXPLAINED)]


def singular(word: str) -> str:
    return word.removesuffix("s")


def known_words() -> set[str]:
    """Return the single words that a name may consist of, without the s of a plural."""
    words = [word for term in terms() for word in re.split(r"[ _]", term)]
    return set(map(singular, [*words, *re.findall(r"[a-z]+", PLAIN)]))


def strange(stem: str, known: Iterable[str]) -> list[str]:
    """Return the words of a file's name that a reader cannot know."""
    return [word for word in re.split(r"[_.]", stem) if singular(word.rstrip("46")) not in known]


def files() -> list[Path]:
    found = [path for folder in FOLDERS for path in folder.rglob("*") if path.suffix in PROGRAMS]
    return sorted(path for path in found if path.stem != "__init__")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_s_name_is_in_the_field_s_words_or_in_the_glossary(path: Path) -> None:
    words = strange(path.stem.removesuffix(".bpf"), known_words())
    assert not words, (
        f"put {', '.join(words)} into docs/glossary.md, or name {path.name} by the field's words"
    )


def test_the_check_itself_finds_a_private_word() -> None:
    known = known_words()
    assert strange("crew", known) == ["crew"]
    assert strange("vrrp_belongings", known) == ["belongings"]
    assert strange("icmp_reply6", known) == []


def test_no_term_is_explained_twice() -> None:
    assert sorted(term for term in set(terms()) if terms().count(term) > 1) == []


def test_there_are_files_in_every_folder() -> None:
    assert all(any(folder in path.parents for path in files()) for folder in FOLDERS)
