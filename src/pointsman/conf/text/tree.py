# SPDX-License-Identifier: Apache-2.0
"""The tree of statements and blocks. Keywords have no meaning here.

virtual_server blocks remain text (`Chunk`) until their statements are needed, because only they come in
thousands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pointsman.conf.text.problems import Findings, TooManyProblemsError
from pointsman.conf.text.source import MAX_BYTES, Chunk, Line
from pointsman.conf.text.tokens import CLOSE, OPEN, Word, find_braces, tokenize
from pointsman.model.location import Location

MAX_DEPTH = 32
"""Limit of nested blocks. keepalived's language needs five."""

MAX_TOKENS = 200_000
"""Limit of words and braces in one virtual_server block, and in everything else together.

It is enough for some thousand real servers."""

MAX_SERVICES = 200_000
"""Limit of virtual_server blocks."""

_LINE_COST = 400
"""Approximate size of a line in memory, in bytes."""

_SERVICE = re.compile(r"\s*virtual_server(?=\s)", re.ASCII)


class Node:
    """A statement: a keyword with its values, and its block if it has one."""

    __slots__ = ("block", "words")

    def __init__(self, words: tuple[Word, ...], block: list[Node] | None = None) -> None:
        self.words = words
        self.block = block

    @property
    def keyword(self) -> Word:
        return self.words[0]

    @property
    def values(self) -> tuple[Word, ...]:
        return self.words[1:]

    def __repr__(self) -> str:
        return f"Node({' '.join(word.text for word in self.words)}, {self.block!r})"


class _TreeBuilder:
    """Builder of the tree, line by line."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.root: list[Node] = []
        self._blocks: list[list[Node]] = [self.root]
        self._openers: list[Word] = []
        self._words: list[Word] = []
        self._tokens = 0

    @property
    def is_outside(self) -> bool:
        """True if no block is open."""
        return not self._openers

    def add_line(self, line: Line) -> None:
        words = self._words
        for token in tokenize(line, self._findings):
            self._tokens += 1
            if token.text == OPEN and not token.quoted:
                self._open(token)
            elif token.text == CLOSE and not token.quoted:
                self._close(token)
            else:
                words.append(token)
        if self._tokens > MAX_TOKENS:
            self._findings.error(line.at(0), f"more than {MAX_TOKENS} words")
            raise TooManyProblemsError
        if words:
            self._statement()

    def _statement(self) -> None:
        if self._words:
            self._blocks[-1].append(Node(tuple(self._words)))
            self._words.clear()

    def _open(self, token: Word) -> None:
        self._statement()
        if len(self._openers) >= MAX_DEPTH:
            self._findings.error(token.location, f"blocks nested deeper than {MAX_DEPTH}")
            raise TooManyProblemsError
        present = self._blocks[-1]
        if present and present[-1].block is None:
            node = present[-1]
        else:
            self._findings.error(
                token.location, "this block has no keyword before it", "write the keyword, or remove {"
            )
            node = Node((token,))
        node.block = []
        self._blocks.append(node.block)
        self._openers.append(token)

    def _close(self, token: Word) -> None:
        self._statement()
        if not self._openers:
            self._findings.is_unbalanced = True
            self._findings.error(
                token.location, "this } closes no block", "remove it, or look for a } too many before it"
            )
            return
        self._openers.pop()
        self._blocks.pop()

    def finish(self) -> None:
        for opener in self._openers:
            self._findings.is_unbalanced = True
            self._findings.error(
                opener.location,
                "this block is not closed",
                "add } where it ends; the } that is missing may belong to an inner block",
            )


class _Splitter:
    """Separator of virtual_server blocks, which become chunks, from other lines, which go to the builder."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._builder = _TreeBuilder(findings)
        self._chunks: list[Chunk] = []
        self._aside: list[Line] = []
        """Lines of the virtual_server block that is open; empty: none is."""
        self._depth = 0
        self._size = 0
        self._cost = 0

    def add(self, piece: Line | Chunk) -> None:
        if isinstance(piece, Line):
            self._add_line(piece)
        elif self._builder.is_outside and not self._aside:
            self._add_chunk(piece)
        else:
            for line in piece.lines(self._findings):
                self._add_line(line)

    def _add_chunk(self, chunk: Chunk) -> None:
        if len(self._chunks) >= MAX_SERVICES:
            place = Location(chunk.file, chunk.number, 1)
            self._findings.error(place, f"more than {MAX_SERVICES} virtual servers")
            raise TooManyProblemsError
        self._chunks.append(chunk)

    def _add_line(self, line: Line) -> None:
        if self._aside or (self._builder.is_outside and _SERVICE.match(line.text)):
            self._put_aside(line)
        else:
            self._builder.add_line(line)

    def _put_aside(self, line: Line) -> None:
        """Add a line to the virtual_server block. It may be the last one."""
        for index, brace in find_braces(line.text):
            self._depth += 1 if brace == OPEN else -1
            if self._depth <= 0 or self._depth > MAX_DEPTH:
                self._end_block(line, index + 1)
                return
        if self._depth == 0 and self._aside and line.text.strip():
            self._release_aside()
            self._add_line(line)
            return
        self._aside.append(line)
        self._size += len(line.text) + _LINE_COST
        if self._size > MAX_BYTES:
            self._findings.error(self._aside[0].at(0), "this virtual_server block has no end, or is too long")
            raise TooManyProblemsError

    def _end_block(self, line: Line, end: int) -> None:
        """End the block in this line, before index `end`. Process the rest of the line."""
        well = self._depth == 0
        rest = line.cut(end)
        self._aside.append(line.cut(0, end))
        if not well:
            self._release_aside()
        else:
            chunk = Chunk.from_lines(self._aside)
            self._cost += len(chunk.text) + _LINE_COST * len(chunk.altered or ())
            if self._cost > MAX_BYTES:
                place = line.at(0)
                self._findings.error(place, f"definitions expand the text to more than {MAX_BYTES >> 20} MiB")
                raise TooManyProblemsError
            self._add_chunk(chunk)
            self._clear_aside()
        if rest.text.strip():
            self._add_line(rest)

    def _release_aside(self) -> None:
        """Give the lines to the builder, which reports what is wrong: they are no complete block."""
        aside = self._aside
        self._clear_aside()
        for line in aside:
            self._builder.add_line(line)

    def _clear_aside(self) -> None:
        self._aside = []
        self._depth = self._size = 0

    def finish(self) -> list[Node | Chunk]:
        self._release_aside()
        self._builder.finish()
        return [*self._builder.root, *self._chunks]


def parse_tree(pieces: Iterable[Line | Chunk], findings: Findings) -> list[Node | Chunk]:
    """Return the statements of the top level, chunks last. Problems go to the findings."""
    splitter = _Splitter(findings)
    for piece in pieces:
        splitter.add(piece)
    return splitter.finish()


def parse_chunk(chunk: Chunk, findings: Findings) -> list[Node]:
    """Return the statements of a chunk, as a rule one. Problems go to the findings."""
    builder = _TreeBuilder(findings)
    for line in chunk.lines(findings):
        builder.add_line(line)
    return builder.root
