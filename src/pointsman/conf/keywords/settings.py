# SPDX-License-Identifier: Apache-2.0
"""Read a block by the keyword table: unknown words and values of a wrong type become problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar, cast

from pointsman.conf.keywords.keyword import Keyword, Status
from pointsman.conf.keywords.suggestions import meant_keyword, meant_value
from pointsman.conf.keywords.table import TABLE, blocks_of, closest
from pointsman.conf.keywords.values import BadValueError, Flag, Integer, Seconds, prefix_without_effect
from pointsman.conf.text.commands import COMMANDS
from pointsman.conf.text.corrections import Choice, cut, remove, replace
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tokens import Word
from pointsman.conf.text.tree import Node
from pointsman.model.address import Address
from pointsman.model.location import Location

T = TypeVar("T")


class Setting(NamedTuple):
    """One statement with its value."""

    node: Node
    value: object

    @property
    def location(self) -> Location:
        return self.node.keyword.location

    @property
    def block(self) -> list[Node]:
        return self.node.block or []


class Settings:
    """The honoured statements of one block, by canonical name."""

    def __init__(self, block: str) -> None:
        self.block = block
        self._settings: dict[str, list[Setting]] = {}
        self._refused: set[str] = set()

    def refuse(self, name: str) -> None:
        """Note a word whose value was refused, which has its own error."""
        self._refused.add(name)

    def absent(self, name: str) -> bool:
        """True if the word stands nowhere in the block, not even with a bad value."""
        return name not in self._settings and name not in self._refused

    def add(self, name: str, setting: Setting) -> None:
        self._settings.setdefault(name, []).append(setting)

    def all(self, name: str) -> list[Setting]:
        """Return every statement of this name, in the order of the file."""
        return self._settings.get(name, [])

    def last(self, name: str) -> Setting | None:
        """Return the last statement of this name, which counts. Ignored repetitions are not among them."""
        settings = self._settings.get(name)
        return settings[-1] if settings else None

    def get(self, name: str, kind: type[T]) -> T | None:
        """Return the value of a word, or None when it is missing."""
        setting = self.last(name)
        return cast(T, setting.value) if setting else None

    def address(self, name: str) -> Address | None:
        """Return the value of a word that must be an address."""
        setting = self.last(name)
        return cast(Address, setting.value) if setting else None

    def has(self, name: str) -> bool:
        return name in self._settings


def inherited(name: str, kind: type[T], *blocks: Settings) -> T | None:
    """Return the value of the first block that has the word."""
    return next((block.get(name, kind) for block in blocks if block.has(name)), None)


def read_block(nodes: Iterable[Node], block: str, findings: Findings) -> Settings:
    """Return the settings of a block; words that cannot be read are reported and left out."""
    settings = Settings(block)
    for node in nodes:
        row = TABLE[block].get(node.keyword.text)
        if row is None:
            _unknown(node, block, settings, findings)
        elif row.status is Status.HONOURED:
            _honoured(node, row, settings, findings)
        elif not _is_default(node, row):
            _without_meaning(node, row, findings)
    return settings


def value_problem(
    findings: Findings, node: Node, error: BadValueError, kind: object = None, default: str = ""
) -> None:
    """Report a value that its type refused, at the word that is wrong."""
    word = node.values[error.index] if error.index < len(node.values) else node.keyword
    likely = meant_value(word.text, kind) if error.index == 0 and word is not node.keyword else ""
    name = node.keyword.text
    text = f"{name}: {error}" if word is node.keyword else f"{name} {word.text}: {error}"
    remedy, edits = (f"did you mean {likely}?", replace(word, likely)) if likely else ("", ())
    if not likely and (usual := _usual_value(word, kind, default)):
        remedy, edits = f"keepalived uses {usual}, its default", replace(word, usual)
    findings.error(word.location, text, remedy, word.width, edits)


def _usual_value(word: Word, kind: object, default: str) -> str:
    """Return the default that keepalived takes in place of a number outside the range; empty: none."""
    usual = re.match(r"[0-9.]+(?=$|[,;])", default)
    number = re.fullmatch(r"[+-]?[0-9.]+", word.text)
    return usual[0] if usual and number and isinstance(kind, Integer | Seconds) else ""


def unknown_name(word: Word, text: str, known: Iterable[str], findings: Findings) -> None:
    """Report a name of something that is defined nowhere, and the one that was probably meant."""
    likely = closest(word.text, known)
    remedy = f"did you mean {likely}?" if likely else "define it, or correct the name"
    findings.error(word.location, text, remedy, word.width, replace(word, likely) if likely else ())


def _honoured(node: Node, row: Keyword, settings: Settings, findings: Findings) -> None:
    word = node.keyword
    if row.opens and node.block is None:
        findings.error(
            word.location, f"{word.text} needs a block", f"write {word.text} {{ ... }}", word.width
        )
        settings.refuse(row.canonical)
        return
    if not row.opens and node.block is not None:
        remedy = "remove it" if isinstance(row.kind, Flag) else f"write {row.kind.expected} in the same line"
        findings.error(word.location, f"{word.text} takes no block", remedy, word.width)
        settings.refuse(row.canonical)
        return
    words = [each.text for each in node.values[: row.kind.words]]
    try:
        value = _zero(node, row, findings) if row.zero and words == ["0"] else row.kind.read(words)
    except BadValueError as error:
        value_problem(findings, node, error, row.kind, row.default)
        settings.refuse(row.canonical)
        return
    _superfluous(node.values[row.kind.words :], word, settings.block, findings)
    _remarks(node, row, findings)
    if value is not None and not _is_ignored_repetition(word, row, settings, findings):
        settings.add(row.canonical, Setting(node, value))


def _zero(node: Node, row: Keyword, findings: Findings) -> float | None:
    """Return the value that a 0 outside the range counts as, and warn of it. None: the word is missing."""
    assert row.zero is not None
    word = node.values[0]
    remedy = "remove the line" if row.zero.counts_as is None else f"write {row.zero.counts_as}"
    edits = remove(node.keyword) if row.zero.counts_as is None else replace(word, str(row.zero.counts_as))
    findings.warning(word.location, f"{node.keyword.text} 0 {row.zero.meaning}", remedy, word.width, edits)
    if row.zero.counts_as is None or isinstance(row.kind, Integer):
        return row.zero.counts_as
    return float(row.zero.counts_as)


def _remarks(node: Node, row: Keyword, findings: Findings) -> None:
    """Warn of an old spelling, and of a prefix length behind an address."""
    word = node.keyword
    if row.warns:
        text = f"{word.text} is an old spelling of {row.canonical}"
        edits = replace(word, row.canonical)
        findings.warning(word.location, text, f"write {row.canonical}", word.width, edits)
    prefix = prefix_without_effect(row.kind, [each.text for each in node.values])
    if prefix:
        address = node.values[0]
        text = f"{word.text} {address.text}: the prefix length has no effect here"
        edits = replace(address, address.text.removesuffix(prefix))
        findings.warning(address.location, text, f"remove {prefix}", address.width, edits)


def _is_ignored_repetition(word: Word, row: Keyword, settings: Settings, findings: Findings) -> bool:
    """Warn of a repetition. True if the first one counts."""
    if not settings.has(row.canonical) or row.repeats or row.listing:
        return False
    first = settings.all(row.canonical)[0].location
    where = f"line {first.line}" if first.file == word.location.file else f"{first.file}, line {first.line}"
    counts = "the first one counts, as in keepalived" if row.first_counts else "the last one counts"
    text = f"{row.canonical} is repeated (first in {where}); {counts}"
    ignored = word if row.first_counts else settings.all(row.canonical)[-1].node.keyword
    findings.warning(word.location, text, "remove one of them", word.width, remove(ignored))
    return row.first_counts


def _superfluous(words: Sequence[Word], keyword: Word, block: str, findings: Findings) -> None:
    for word in words:
        if word.text in TABLE[block] and not word.quoted:
            text = f"{word.text} is in the line of {keyword.text}, so it has no effect in keepalived"
            findings.error(word.location, text, "give it a line of its own", word.width)
            return
    if words:
        text = f"{words[0].text} after the value of {keyword.text} has no effect"
        remedy = "write program and arguments in quotes" if keyword.text in COMMANDS else "remove it"
        findings.warning(words[0].location, text, remedy, words[0].width, cut(words))


def _is_default(node: Node, row: Keyword) -> bool:
    """True if the value of a refused word is its default."""
    if row.status is not Status.REFUSED or not row.default:
        return False
    try:
        written = row.kind.read([word.text for word in node.values[: row.kind.words]])
    except BadValueError:
        return False
    return written == row.kind.read([row.default])


def _without_meaning(node: Node, row: Keyword, findings: Findings) -> None:
    word = node.keyword
    if row.status is Status.ACCEPTED:
        try:
            row.kind.read([each.text for each in node.values[: row.kind.words]])
        except BadValueError as error:
            bad = node.values[error.index] if error.index < len(node.values) else word
            text = f"{word.text} {bad.text if bad is not word else ''}".rstrip()
            findings.warning(bad.location, f"{text}: {error}; keepalived ignores it", width=bad.width)
        text = f"{word.text} has no effect here: {row.reason}"
        if row.warns:
            findings.warning(word.location, text, "remove it", word.width, remove(word))
        else:
            findings.note(word.location, text, width=word.width)
    else:
        choices = (Choice("remove it", remove(word)),)
        findings.error(
            word.location, f"{word.text} is not supported", row.reason, word.width, choices=choices
        )


def _unknown(node: Node, block: str, settings: Settings, findings: Findings) -> None:
    """Report an unknown keyword. The keyword that was probably meant does not count as missing."""
    word = node.keyword
    where = f"in {block}" if block else "outside a block"
    elsewhere = blocks_of(word.text)
    likely = meant_keyword(word.text, block, [each.text for each in node.values])
    edits = replace(word, likely) if likely in TABLE[block] else ()
    if likely in TABLE[block]:
        settings.refuse(TABLE[block][likely].canonical)
        text = f"{word.text} is not allowed {where}" if elsewhere else f"unknown keyword {word.text} {where}"
        remedy = f"write {likely} here" if elsewhere else f"did you mean {likely}?"
    elif elsewhere:
        text = f"{word.text} is not allowed {where}; it belongs in {' or '.join(elsewhere)}"
        remedy = (
            "add the } that is missing before it"
            if "the top level" in elsewhere
            else "move it, or look for a } that is missing or too many"
        )
    else:
        text = f"unknown keyword {word.text} {where}"
        remedy = (
            f"did you mean {likely}, which belongs in {' or '.join(blocks_of(likely))}?" if likely else ""
        )
    findings.error(word.location, text, remedy, word.width, edits)
