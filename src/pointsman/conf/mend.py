# SPDX-License-Identifier: Apache-2.0
"""Mend a configuration: apply the corrections that problems carry, and show each with its reason.

Comments and layout stay. Files are checked again after each round of corrections, because one mistake can
hide another.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pointsman.conf.text.corrections import Change, Edit
from pointsman.conf.text.problems import Problem, Severity
from pointsman.conf.text.source import FileReader

MAX_ROUNDS = 20
_TOKEN = re.compile(r'[{}]|"(?:[^"\\]|\\.)*"?|[#!].*|[^\s{}"#!]+')
_BRACE_WITHOUT_BLANK = re.compile(r"(?<=[^\s{}])\{")

Checker = Callable[[FileReader], Sequence[Problem]]
Decide = Callable[[Problem], tuple[Edit, ...]]
"""Return the edits of the remedy that the owner chooses for a problem; empty: none."""


class _TextLine(NamedTuple):
    """A line of a file that is being mended, and why it is no longer the original one."""

    text: str
    reasons: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    """Why the lines are gone that stood between this one and the next."""


class Mended(NamedTuple):
    """The result."""

    files: dict[str, str]
    """New texts of the files that change."""
    diff: tuple[str, ...]
    """Lines of a unified diff; each hunk's heading has the reasons."""
    left: tuple[Problem, ...]
    """Problems that need a decision or a look."""


class _Document:
    """A file that is being mended."""

    def __init__(self, data: bytes) -> None:
        self.original = data.decode("utf-8", "surrogateescape").split("\n")
        self.lines = [_TextLine(text) for text in self.original]
        self._blocked: set[int] = set()

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    def begin_round(self) -> None:
        self._blocked = set()

    def apply(self, edits: Iterable[Edit], reason: str) -> bool:
        """Apply edits unless lines have moved in this round. Return True if something was changed."""
        done = False
        for edit in sorted(edits, key=lambda each: each.location, reverse=True):
            number = edit.location.line - 1
            last = self._last_line(edit)
            if self._blocked.intersection(range(number, last + 1)) or number >= len(self.lines):
                continue
            self._blocked.update(range(number, last + 1))
            self._change(edit, number, last, reason)
            done = True
        return done

    def _change(self, edit: Edit, number: int, last: int, reason: str) -> None:
        line, column = self.lines[number], edit.location.column - 1
        reasons = tuple(dict.fromkeys((*line.reasons, reason)))
        match edit.change:
            case Change.REPLACE:
                text = line.text[:column] + edit.text + line.text[column + edit.width :]
                self.lines[number] = line._replace(text=text if edit.text else text.rstrip(), reasons=reasons)
            case Change.REMOVE:
                self._remove(number, column, last, reason)
            case Change.ABOVE:
                indent = line.text[: len(line.text) - len(line.text.lstrip())]
                self._replace(number, number, [_TextLine(indent + edit.text, (reason,))])
            case Change.BELOW | Change.INSIDE:
                like = self.lines[last + 1].text if edit.change is Change.INSIDE else line.text
                indent = like[: len(like) - len(like.lstrip())]
                self._replace(last + 1, last + 1, [_TextLine(indent + edit.text, (reason,))])

    def _remove(self, number: int, column: int, last: int, reason: str) -> None:
        """Remove a statement. What else stands in its lines stays."""
        end = _end_of_statement([line.text for line in self.lines], number, column)
        before, behind = self.lines[number].text[:column], self.lines[end[0]].text[end[1] :]
        rest = before + behind.lstrip() if before.strip() else before + behind.strip()
        kept = [_TextLine(rest.rstrip(), (*self.lines[number].reasons, reason))] if rest.strip() else []
        if not kept:
            near = max(0, number - 1)
            gone = [why for line in self.lines[number : last + 1] for why in line.removed]
            before_it = self.lines[near]
            self.lines[near] = before_it._replace(removed=(*before_it.removed, reason, *gone))
        self._replace(number, last + 1, kept)

    def _replace(self, first: int, end: int, new: list[_TextLine]) -> None:
        """Replace lines; when their number changes, those below wait for the next round."""
        if len(new) != end - first:
            self._blocked.update(range(first, len(self.lines) + len(new) + 1))
        self.lines[first:end] = new

    def _last_line(self, edit: Edit) -> int:
        """Return the index of the last line that an edit touches, or below which it writes."""
        number, column = edit.location.line - 1, edit.location.column - 1
        texts = [line.text for line in self.lines]
        if edit.change is Change.REMOVE:
            return _end_of_statement(texts, number, column)[0]
        if edit.change is Change.INSIDE:
            opened = (index for index in range(number, len(texts)) if "{" in texts[index])
            return next(opened, number)
        return number

    def separate_braces(self) -> None:
        """Write a blank before each { that has none. Lines with quotes, definitions or comments stay."""
        for number, line in enumerate(self.lines):
            if "{" in line.text and not set(line.text) & set("\"'$~#!\\"):
                text = _BRACE_WITHOUT_BLANK.sub(" {", line.text)
                if text != line.text:
                    self.lines[number] = _TextLine(text, ("a blank belongs before {",))

    def diff(self, name: str) -> Iterator[str]:
        """Yield the unified diff, with reasons behind the place of each hunk."""
        new = [line.text for line in self.lines]
        matcher = difflib.SequenceMatcher(None, self.original, new, autojunk=False)
        groups = list(matcher.get_grouped_opcodes(0))
        if not groups:
            return
        yield f"--- {name}"
        yield f"+++ {name} (mended)"
        for group in groups:
            first, last = group[0], group[-1]
            near = self.lines[max(0, first[3] - 1) : first[3]]
            reasons = [why for line in near for why in line.removed]
            reasons += [
                why for line in self.lines[first[3] : last[4]] for why in (*line.reasons, *line.removed)
            ]
            if not reasons:  # of equal lines, another one counts as removed than was
                reasons = [why for line in self.lines[last[4] : last[4] + 1] for why in line.reasons]
            old, fresh = _range(first[1], last[2]), _range(first[3], last[4])
            yield f"@@ -{old} +{fresh} @@ {'; '.join(dict.fromkeys(reasons))}".rstrip()
            for _, old_first, old_end, new_first, new_end in group:
                yield from (f"-{line}" for line in self.original[old_first:old_end])
                yield from (f"+{line}" for line in new[new_first:new_end])


def _range(first: int, end: int) -> str:
    size = end - first
    return f"{first + 1 if size else first},{size}"


def _end_of_statement(texts: Sequence[str], number: int, column: int) -> tuple[int, int]:
    """Return line and column behind a statement that begins here: its line's words, or its block."""
    depth, seen = 0, (number, column)
    for index in range(number, len(texts)):
        for token in _TOKEN.finditer(texts[index], column if index == number else 0):
            sign = token[0]
            if sign[0] in "#!":
                break
            if sign == "}" and depth == 0:
                return seen
            if depth == 0 and index > number and sign != "{":
                return seen
            depth += (sign == "{") - (sign == "}")
            seen = index, token.end()
            if sign == "}" and depth == 0:
                return seen
    return seen


class _Overlay:
    """Reader of files, some of which are being mended."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader
        self.documents: dict[str, _Document] = {}

    def read(self, path: str, limit: int) -> bytes:
        if path not in self.documents:
            self.documents[path] = _Document(self._reader.read(path, limit))
        return self.documents[path].text.encode("utf-8", "surrogateescape")[:limit]

    def matches(self, pattern: str) -> Sequence[str]:
        return self._reader.matches(pattern)


def mend(reader: FileReader, check: Checker, decide: Decide) -> Mended:
    """Return the mended files. Nothing is written.

    `check` returns the problems of the configuration, read by the reader that it is given. `decide` is asked
    once for each problem with several remedies.
    """
    overlay = _Overlay(reader)
    problems = check(overlay)
    for document in overlay.documents.values():
        document.separate_braces()
    asked: set[tuple[str, str]] = set()
    for _ in range(MAX_ROUNDS):
        problems = check(overlay)
        if not _apply(problems, overlay.documents, decide, asked):
            break
    changed = {
        name: each.text for name, each in overlay.documents.items() if each.text != "\n".join(each.original)
    }
    diff = tuple(line for name in changed for line in overlay.documents[name].diff(name))
    return Mended(changed, diff, tuple(each for each in problems if each.severity is not Severity.NOTE))


def _apply(
    problems: Sequence[Problem], documents: dict[str, _Document], decide: Decide, asked: set[tuple[str, str]]
) -> bool:
    """Apply one round of corrections. Return True if there was one."""
    changed = False
    for document in documents.values():
        document.begin_round()
    for problem in problems:
        edits = problem.edits
        key = (problem.text, problem.excerpt)
        if not edits and problem.choices and key not in asked:
            asked.add(key)
            edits = decide(problem)
        if not edits or any(each.location.through or each.location.file not in documents for each in edits):
            continue
        for file in {each.location.file for each in edits}:
            own = [each for each in edits if each.location.file == file]
            changed |= documents[file].apply(own, problem.text)
    return changed
