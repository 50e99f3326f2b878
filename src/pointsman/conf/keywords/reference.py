"""What the keyword table says, for people: help on a word, and the reference of all words."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.keywords.implemented_in import home
from pointsman.conf.keywords.keyword import Keyword, Status
from pointsman.conf.keywords.table import TABLE, closest

_VERDICT = {
    Status.HONOURED: "honoured",
    Status.ACCEPTED: "accepted, without effect",
    Status.REFUSED: "refused: `check` reports an error",
}
_MARK = {Status.HONOURED: "yes", Status.ACCEPTED: "no effect", Status.REFUSED: "**error**"}


def words() -> list[str]:
    """Every word of the table, sorted."""
    return sorted({name for rows in TABLE.values() for name in rows})


def explain(word: str) -> str:
    """All there is to say about a word, block by block; empty when nobody knows it."""
    return "\n".join(
        line for block, rows in TABLE.items() if word in rows for line in _explained(block, rows[word])
    )


def suggestion(word: str) -> str:
    """The word that was probably meant, or nothing."""
    return closest(word, words())


def _explained(block: str, row: Keyword) -> Iterator[str]:
    yield f"{row.name}, {f'in {block}' if block else 'outside blocks'}: {_meaning(row)}"
    yield f"    value:     {row.kind.wants}"
    if default := _default(row):
        yield f"    default:   {default}"
    if row.since:
        yield f"    since:     {row.since}"
    if row.opens and not row.listing:
        yield f"    inside:    {' '.join(TABLE[row.opens])}"
    where = f", in {home(row)}" if row.status is Status.HONOURED else ""
    yield f"    Pointsman: {_VERDICT[row.status]}{where}"
    if row.status is not Status.HONOURED:
        yield f"               {row.help}"


def _meaning(row: Keyword) -> str:
    return (row.meaning or row.help).rstrip(".")


def _default(row: Keyword) -> str:
    """As the language names it, else as the value says."""
    if row.usual or row.default is None:
        return row.usual
    if isinstance(row.default, bool):
        return "on" if row.default else "off"
    return f"{row.default:g}" if isinstance(row.default, float) else str(row.default)


def reference() -> str:
    """The page `docs/keywords.md`: every word of every block, in Markdown."""
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
    since = f" ({row.since})" if row.since else ""
    why = "" if row.status is Status.HONOURED else f": {row.help}"
    cells = (
        f"`{row.name}`{since}",
        row.kind.wants,
        _default(row),
        _meaning(row),
        _MARK[row.status] + why,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
