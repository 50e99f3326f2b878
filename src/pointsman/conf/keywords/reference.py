# SPDX-License-Identifier: Apache-2.0
"""Write the keyword table for people: help on a word, and the page of all words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pointsman.conf.keywords.implemented_in import implemented_in
from pointsman.conf.keywords.keyword import Keyword, Status
from pointsman.conf.keywords.table import TABLE, closest
from pointsman.conf.keywords.values import Flag

_VERDICT = {
    Status.HONOURED: "honoured",
    Status.ACCEPTED: "accepted, without effect",
    Status.REFUSED: "refused: `check` reports an error",
}
_MARK = {Status.HONOURED: "yes", Status.ACCEPTED: "no effect", Status.REFUSED: "**error**"}


def words() -> list[str]:
    """Return every word of the table, sorted."""
    return sorted({name for rows in TABLE.values() for name in rows})


def explain(word: str, source: bool = False) -> str:
    """Return the help on a word, block by block; empty for an unknown word.

    `source`: also name the module that implements it.
    """
    return "\n".join(
        line
        for block, rows in TABLE.items()
        if word in rows
        for line in _explained(block, rows[word], source)
    )


def suggestion(word: str) -> str:
    """Return the word that was probably meant, or nothing."""
    return closest(word, words())


def _explained(block: str, row: Keyword, source: bool) -> Iterator[str]:
    yield f"{row.name}, {f'in {block}' if block else 'outside blocks'}: {row.help}"
    yield f"    value:     {_in_words(_value(row))}"
    if default := _default(row):
        yield f"    default:   {default}"
    if row.known_to:
        yield f"    known to:  {row.known_to}"
    if row.opens and not row.listing:
        yield f"    inside:    {' '.join(TABLE[row.opens])}"
    if row.repeats and row.status is Status.HONOURED:
        yield "    repeated:  each one counts"
    elif row.first_counts:
        yield "    repeated:  the first one counts"
    yield f"    Pointsman: {_VERDICT[row.status]}"
    if row.status is not Status.HONOURED:
        yield f"               {row.reason}"
    elif source:
        yield f"    source:    {implemented_in(row)}"


_LARGE = {2**32 - 1, 2**31 - 1, 4294967}
"""Upper ends of ranges that only the size of a number sets."""


def _in_words(expected: str) -> str:
    """Return a range without an end that nobody reaches, and without a beginning that means "above 0"."""
    found = re.search(r"from (\S+) to ([0-9]+)(?=$|[ ,)])", expected)
    if found is None or int(found[2]) not in _LARGE:
        return expected.replace("from 0.000001 to", "above 0, up to")
    least = "above 0" if found[1] == "0.000001" else f"{found[1]} or more"
    return f"{expected[: found.start()].rstrip()}, {least}{expected[found.end() :]}"


_INHERITED = {"that of the real server": "real_server", "that of the virtual server": "virtual_server"}


def _default(row: Keyword) -> str:
    """Return the default; where it is that of another block, also that one's, down to the value."""
    parts = [row.default] if row.default else []
    while parts and (found := _inherited_row(row)) is not None:
        row = found
        if row.default:
            parts.append(row.default)
    return ", else ".join(dict.fromkeys(parts))


def _inherited_row(row: Keyword) -> Keyword | None:
    block = _INHERITED.get(row.default)
    if block is not None:
        return TABLE[block].get(row.name)
    return TABLE["global_defs"].get(row.default)


def _value(row: Keyword) -> str:
    """Return what is to be written behind the word, with its block."""
    if not row.opens:
        return row.kind.expected
    block = "a block of values" if row.listing else "a block"
    return block if isinstance(row.kind, Flag) else f"{row.kind.expected}, and {block}"


def reference() -> str:
    """Return the page `docs/keywords.md`: every word of every block, in Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    rows = [row for block in TABLE.values() for row in block.values()]
    counts = {status: sum(row.status is status for row in rows) for status in Status}
    yield "# Words of keepalived.conf"
    yield ""
    yield "Generated from the keyword table by `pointsman conf help --all`; the same for one word:"
    yield "`pointsman conf help WORD`."
    yield ""
    yield (
        f"{len({row.name for row in rows})} words, {len(rows)} places: {counts[Status.HONOURED]} honoured, "
        f"{counts[Status.ACCEPTED]} accepted without effect, {counts[Status.REFUSED]} refused with an error."
    )
    for block, table in TABLE.items():
        yield ""
        yield f"## {block or 'Outside blocks'}"
        yield ""
        yield "| word | value | default | meaning | here |"
        yield "| --- | --- | --- | --- | --- |"
        yield from (_row(row) for row in table.values())


def _row(row: Keyword) -> str:
    known_to = f" ({row.known_to})" if row.known_to else ""
    why = f": {row.reason}" if row.reason else ""
    cells = (
        f"`{row.name}`{known_to}",
        _value(row),
        row.default,
        row.help,
        _MARK[row.status] + why,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
