# SPDX-License-Identifier: Apache-2.0
"""Shown configurations for others: only words that keepalived takes, or without passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pointsman.conf.keywords.keyword import NEWER, OURS, Keyword
from pointsman.conf.keywords.table import TABLE

HIDDEN = "********"

_SECRETS = re.compile(
    r'^(\s*(?:auth_pass|password|smtp_auth (?:"[^"]*"|\S+)|key \d+)) (?!file:)(?:"[^"]*"|\S+)$', re.MULTILINE
)
_NOTHING = {"off", "0", "none"}
"""Values of our own words that say what is so in keepalived anyway."""


def hide_passwords(text: str) -> str:
    """Return a shown configuration with asterisks in place of passwords and keys."""
    return _SECRETS.sub(rf"\1 {HIDDEN}", text)


def keep_keepalived_words(text: str) -> str:
    """Return a shown configuration without the words that keepalived 2.2.7 does not know.

    Those that make a difference become comments.
    """
    return "".join(f"{line}\n" for line in _kept(text.splitlines()))


def _kept(lines: list[str]) -> Iterator[str]:
    blocks: list[str | None] = [""]
    """Names of the open blocks, innermost last. None: a block of values, or one that is left out."""
    left_out = 0
    for line in lines:
        words = line.split()
        opens = bool(words) and words[-1] == "{"
        if left_out:
            left_out += opens - (words == ["}"])
            continue
        row = TABLE[block].get(words[0]) if words and (block := blocks[-1]) is not None else None
        if row is not None and row.known_to in (OURS, NEWER):
            left_out = int(opens)
            if _matters(row, words):
                indent = line[: len(line) - len(line.lstrip())]
                yield f"{indent}# not in keepalived 2.2.7: {' '.join(words).removesuffix(' {')}"
            continue
        if opens:
            blocks.append(row.opens if row is not None and not row.listing else None)
        elif words == ["}"]:
            blocks.pop()
        yield line


def _matters(row: Keyword, words: list[str]) -> bool:
    value = " ".join(words[1:])
    return value not in _NOTHING and value != row.default
