"""The whole keyword table, and what is like a word that is not in it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pointsman.conf.keywords.bfd import BFD, BFD_TOP
from pointsman.conf.keywords.checks import CHECKS
from pointsman.conf.keywords.global_defs import GLOBAL, TOP
from pointsman.conf.keywords.keyword import Keyword, Status, Table, table_of
from pointsman.conf.keywords.tracking import TRACKING, TRACKING_TOP
from pointsman.conf.keywords.values import Anything
from pointsman.conf.keywords.virtual_server import LVS
from pointsman.conf.keywords.vocabulary import Entry, entries
from pointsman.conf.keywords.vrrp import VRRP


def _whole(verdicts: Table) -> Table:
    """The verdicts with what the language says of each word. Raises KeyError for a word without a verdict."""
    whole: Table = {block: dict(rows) for block, rows in verdicts.items()}
    for entry in entries():
        whole[entry.block][entry.name] = _described(whole[entry.block][entry.name], entry)
    return whole


def _described(row: Keyword, entry: Entry) -> Keyword:
    kind = entry.kind if isinstance(row.kind, Anything) and row.status is not Status.HONOURED else row.kind
    return msgspec.structs.replace(
        row,
        kind=kind,
        usual=entry.default,
        meaning=entry.meaning,
        since=entry.since,
    )


TABLE: Table = _whole(
    table_of([*TOP, *TRACKING_TOP, *BFD_TOP, *GLOBAL, *VRRP, *TRACKING, *BFD, *LVS, *CHECKS])
)


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or nothing."""
    import difflib  # only where there is a mistake

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.66)
    if found:
        return found[0]
    folded = {name.lower().replace("-", "_"): name for name in known}
    return folded.get(word.lower().replace("-", "_"), "")


def homes(word: str) -> list[str]:
    """The blocks in which a word stands; the top level is called so."""
    return [block or "the top level" for block, rows in TABLE.items() if word in rows]
