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


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` was probably meant to be, or nothing."""
    import difflib  # only where there is a mistake

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.66)
    if found:
        return found[0]
    folded = {name.lower().replace("-", "_"): name for name in known}
    return folded.get(word.lower().replace("-", "_"), "")


def blocks_of(word: str) -> list[str]:
    """Return the blocks in which a word stands; that outside all blocks is called the top level."""
    return [block or "the top level" for block, rows in TABLE.items() if word in rows]
