"""The keyword table: every word of keepalived.conf, block by block, and what becomes of it here.

One row a keyword. Parser, checker, defaults and help read this table and nothing else. The rows are in
`words_global`, `words_vrrp`, `words_lvs` and `words_checks`; facts are those of keepalived.conf(5) and of its
parser.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from pointsman.conf.keywords.values import Anything, Kind


class Status(enum.Enum):
    """HONOURED: does what keepalived does. ACCEPTED: without effect here, and harmless. REFUSED: an error."""

    HONOURED = "honoured"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Keyword(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table."""

    block: str
    """The block it stands in; empty: outside all blocks."""
    name: str
    kind: Kind
    status: Status
    help: str
    """HONOURED: what it sets. ACCEPTED: why it has no effect. REFUSED: what to do instead."""
    default: object = None
    """keepalived's value when the word is missing; None: there is none, or it is inherited."""
    opens: str = ""
    """The name of the block behind it, when one is wanted."""
    listing: bool = False
    """The block holds lines of values, not keywords."""
    repeats: bool = False
    """May stand several times, each one counts."""
    canonical: str = ""
    """The name under which the value is looked up; differs for old spellings."""
    usual: str = ""
    """The default as keepalived.conf(5) would name it."""
    meaning: str = ""
    """What the word means in keepalived."""
    since: str = ""
    """Empty: keepalived 2.2.7 knows it."""


def honoured(
    block: str,
    name: str,
    kind: Kind,
    help: str,
    default: object = None,
    *,
    opens: str = "",
    listing: bool = False,
    repeats: bool = False,
    same_as: str = "",
) -> Keyword:
    """A row of a word that does here what it does in keepalived."""
    return Keyword(
        block=block,
        name=name,
        kind=kind,
        status=Status.HONOURED,
        help=help,
        default=default,
        opens=opens,
        listing=listing,
        repeats=repeats,
        canonical=same_as or name,
    )


def _without_meaning(
    status: Status, block: str, names: str, help: str, kind: Kind | None, default: object
) -> list[Keyword]:
    return [
        Keyword(
            block=block,
            name=name,
            kind=kind or Anything(),
            status=status,
            help=help,
            default=default,
            repeats=True,
            canonical=name,
        )
        for name in names.split()
    ]


def accepted(block: str, names: str, help: str) -> list[Keyword]:
    """Rows of words that change nothing here that anybody could miss; `help` says why."""
    return _without_meaning(Status.ACCEPTED, block, names, help, None, None)


def refused(
    block: str, names: str, help: str, kind: Kind | None = None, default: object = None
) -> list[Keyword]:
    """Rows of words that are dangerous to ignore; `help` says what to do. Writing the default is allowed."""
    return _without_meaning(Status.REFUSED, block, names, help, kind, default)


Table = dict[str, dict[str, Keyword]]
"""Block -> name -> row."""


def table_of(rows: Iterable[Keyword]) -> Table:
    """The rows by block and name. Raises ValueError when a word stands twice in a block."""
    table: Table = {}
    for row in rows:
        block = table.setdefault(row.block, {})
        if row.name in block:
            raise ValueError(f"{row.name} stands twice in block {row.block!r}")
        block[row.name] = row
    return table
