"""The whole keyword table, and what is like a word that is not in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pointsman.conf.keywords import Table, table_of
from pointsman.conf.words_global import GLOBAL, TOP
from pointsman.conf.words_lvs import LVS
from pointsman.conf.words_vrrp import VRRP

TABLE: Table = table_of([*TOP, *GLOBAL, *VRRP, *LVS])


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.66)
    if found:
        return found[0]
    folded = {name.lower().replace("-", "_"): name for name in known}
    return folded.get(word.lower().replace("-", "_"), "")


def homes(word: str) -> list[str]:
    """The blocks in which a word stands; the top level is called so."""
    return [block or "the top level" for block, rows in TABLE.items() if word in rows]
