# SPDX-License-Identifier: Apache-2.0
"""The whole keyword table: block, name, row; and which known word is like an unknown one."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.conf.keywords.bfd import BFD
from pointsman.conf.keywords.checks import CHECKS
from pointsman.conf.keywords.connection_sync import CONNECTION_SYNC
from pointsman.conf.keywords.global_defs import GLOBAL_DEFS
from pointsman.conf.keywords.global_no_effect import GLOBAL_NO_EFFECT
from pointsman.conf.keywords.keyword import Keyword
from pointsman.conf.keywords.top_level import TOP_LEVEL
from pointsman.conf.keywords.tracking import TRACKING
from pointsman.conf.keywords.virtual_server import VIRTUAL_SERVER
from pointsman.conf.keywords.vrrp import VRRP

Table = dict[str, dict[str, Keyword]]
"""Block -> name -> row."""


def table_of(rows: Iterable[Keyword]) -> Table:
    """Return the rows by block and name. Raises ValueError when a word stands twice in a block."""
    table: Table = {}
    for row in rows:
        block = table.setdefault(row.block, {})
        if row.name in block:
            raise ValueError(f"{row.name} stands twice in block {row.block!r}")
        block[row.name] = row
    return table


TABLE = table_of(
    [
        *TOP_LEVEL,
        *GLOBAL_DEFS,
        *GLOBAL_NO_EFFECT,
        *VRRP,
        *TRACKING,
        *BFD,
        *VIRTUAL_SERVER,
        *CHECKS,
        *CONNECTION_SYNC,
    ]
)


def closest(word: str, known: Iterable[str], *, certain: bool = False) -> str:
    """Return the known word that `word` was probably meant to be, or nothing.

    `certain`: only a word that differs in two characters at most.
    """
    import difflib  # only where there is a mistake

    names = list(known)
    folded = {_fold(name): name for name in names}
    if _fold(word) in folded:
        return folded[_fold(word)]
    longer = [name for name in names if name.endswith(f"_{word}") or name.startswith(f"{word}_")]
    if len(longer) == 1 and not certain:
        return longer[0]
    found = difflib.get_close_matches(word, names, n=3, cutoff=0.66)
    most = 2 if certain else max(2, 2 * len(word) // 5)
    near = [name for name in found if _distance(word, name) <= most]
    return min(near, key=lambda name: _distance(word, name), default="")


def _fold(word: str) -> str:
    """Return a word without case and separators, which are written wrongly most often."""
    return word.lower().replace("-", "").replace("_", "")


def _distance(one: str, other: str) -> int:
    """Return the number of characters to insert, remove, replace or exchange with the next one."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, last, row = row, before, [i]
        for k, right in enumerate(other, 1):
            row.append(min(before[k] + 1, row[k - 1] + 1, before[k - 1] + (left != right)))
            if i > 1 and k > 1 and left == other[k - 2] and one[i - 2] == right:
                row[k] = min(row[k], last[k - 2] + 1)
    return row[-1]


def blocks_of(word: str) -> list[str]:
    """Return the blocks in which a word stands; that outside all blocks is called the top level."""
    return [block or "the top level" for block, rows in TABLE.items() if word in rows]
