# SPDX-License-Identifier: Apache-2.0
"""One row a keyword: what may be written, what it sets, and what becomes of it here.

The rows are in the files named after blocks; `table` has all of them. Parser, checker, help and reference
read these rows and nothing else. Facts are those of keepalived.conf(5), of keepalived's parser, and of
`keepalived -t` (tests/interop/conf/test_ranges.py).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import msgspec

from pointsman.conf.keywords.values import Kind

NEWER = "keepalived after 2.2.7"
OURS = "Pointsman only"
OLD = "keepalived 1.x"


class Status(enum.Enum):
    """HONOURED: works as in keepalived. ACCEPTED: has no effect here, and does no harm. REFUSED: an error."""

    HONOURED = "honoured"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Zero(NamedTuple):
    """The meaning of a 0 that is outside the range, but that keepalived runs with."""

    meaning: str
    """Its effect, for people."""
    counts_as: int | None = None
    """The value in its place. None: the keyword counts as missing."""


NO_VALUE = Zero("has no effect: the default counts")
ONE = Zero("counts as 1, as in keepalived", 1)


class Keyword(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table."""

    block: str = ""
    """The block in which it stands; empty: outside all blocks."""
    name: str
    kind: Kind
    """Type and range of the value."""
    help: str
    """Its meaning, in one line without a full stop."""
    default: str = ""
    """For people: the value when the word is missing, or where it comes from; empty: there is none."""
    status: Status
    reason: str = ""
    """ACCEPTED: why it has no effect. REFUSED: what to do instead. HONOURED: empty."""
    opens: str = ""
    """The name of the block that must follow; empty: none."""
    listing: bool = False
    """The block holds lines of values, not keywords."""
    repeats: bool = False
    """It may stand several times, and each one counts."""
    first_counts: bool = False
    """If it is repeated, the first one counts, as in keepalived. Otherwise the last one does."""
    zero: Zero | None = None
    """The meaning of 0, if its type does not include it. None: 0 is an error."""
    warns: bool = False
    """Old, or without effect where a user expects one: `check` warns, and does not only note it."""
    canonical: str = ""
    """The name under which the value is looked up; another one for old spellings."""
    known_to: str = ""
    """Empty: keepalived 2.2.7 knows it."""


def honoured(
    name: str,
    kind: Kind,
    help: str,
    default: str = "",
    *,
    opens: str = "",
    listing: bool = False,
    repeats: bool = False,
    first_counts: bool = False,
    zero: Zero | None = None,
    same_as: str = "",
    warns: bool = False,
    known_to: str = "",
) -> Keyword:
    """Return the row of a word that does here what it does in keepalived."""
    return Keyword(
        name=name,
        kind=kind,
        help=help,
        default=default,
        status=Status.HONOURED,
        opens=opens,
        listing=listing,
        repeats=repeats,
        first_counts=first_counts,
        zero=zero,
        warns=warns,
        canonical=same_as or name,
        known_to=known_to,
    )


def accepted(name: str, kind: Kind, help: str, default: str = "", *, why: str, known_to: str = "") -> Keyword:
    """Return the row of a word that has no effect here and needs none. `why` says the reason."""
    return _not_honoured(Status.ACCEPTED, name, kind, help, default, why, known_to)


def obsolete(name: str, kind: Kind, help: str, *, why: str) -> Keyword:
    """Return the row of a word of keepalived 1.x that has no effect today."""
    row = _not_honoured(Status.ACCEPTED, name, kind, help, "", why, OLD)
    return msgspec.structs.replace(row, warns=True)


def refused(
    name: str, kind: Kind, help: str, default: str = "", *, instead: str, known_to: str = ""
) -> Keyword:
    """Return the row of a word that is dangerous to ignore. Its default may be written."""
    return _not_honoured(Status.REFUSED, name, kind, help, default, instead, known_to)


def _not_honoured(
    status: Status, name: str, kind: Kind, help: str, default: str, reason: str, known_to: str
) -> Keyword:
    return Keyword(
        name=name,
        kind=kind,
        help=help,
        default=default,
        status=status,
        reason=reason,
        repeats=True,
        canonical=name,
        known_to=known_to,
    )


def in_block(block: str, *words: Keyword) -> list[Keyword]:
    """Return the rows as those of a block; words that several blocks share are written once."""
    return [msgspec.structs.replace(word, block=block) for word in words]
