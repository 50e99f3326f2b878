"""Statements and blocks: the shape of a configuration, before any word of it has a meaning.

virtual_server blocks stay text (`Chunk`) until somebody asks for their statements: of everything that a
configuration can hold, only they come in thousands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pointsman.conf.text.problems import Findings, TooManyProblemsError
from pointsman.conf.text.source import MAX_BYTES, Chunk, Line
from pointsman.conf.text.tokens import CLOSE, OPEN, Word, find_braces, tokenize
from pointsman.model.location import Location

MAX_DEPTH = 32
"""Nested blocks; keepalived's language needs five."""

MAX_TOKENS = 200_000
"""Words and braces of a virtual_server block, or of everything else together: some thousand real servers, or
more VRRP instances than many links can have."""

MAX_SERVICES = 200_000
"""virtual_server blocks."""

_LINE_COST = 400
"""About the bytes that a line takes in memory."""

_SERVICE = re.compile(r"\s*virtual_server(?=\s)", re.ASCII)


class Node:
    """A keyword with its words, and the block behind it if there is one."""

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
    """Makes statements of lines."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.root: list[Node] = []
        self._blocks: list[list[Node]] = [self.root]
        self._openers: list[Word] = []
        self._words: list[Word] = []
        self._tokens = 0

    @property
    def is_outside(self) -> bool:
        """Whether no block is open."""
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
                token.location, "a block without a keyword before it", "name the block, or remove {"
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
                token.location, "this } closes nothing", "remove it, or look for a } too many before it"
            )
            return
        self._openers.pop()
        self._blocks.pop()

    def finish(self) -> None:
        for opener in self._openers:
            self._findings.is_unbalanced = True
            self._findings.error(
                opener.location,
                "this block is never closed",
                "add } where it ends; the problem may lie before the end",
            )


class _Splitter:
    """Puts the lines of virtual_server blocks aside, unread, and hands all others to a builder."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._builder = _TreeBuilder(findings)
        self._chunks: list[Chunk] = []
        self._aside: list[Line] = []
        """Lines of the virtual_server block that is open."""
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
        """One more line of a virtual_server block, perhaps its last one."""
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
            self._findings.error(self._aside[0].at(0), "a virtual_server block without end, or far too long")
            raise TooManyProblemsError

    def _end_block(self, line: Line, end: int) -> None:
        """The line in which the block ends, behind the character before `end`."""
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
                self._findings.error(place, f"definitions make more than {MAX_BYTES >> 20} MiB of the text")
                raise TooManyProblemsError
            self._add_chunk(chunk)
            self._clear_aside()
        if rest.text.strip():
            self._add_line(rest)

    def _release_aside(self) -> None:
        """What was put aside is no block, or has no end: the builder may say what is wrong with it."""
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
    """The statements on top level, virtual_server blocks last and unread. Problems go to the findings."""
    splitter = _Splitter(findings)
    for piece in pieces:
        splitter.add(piece)
    return splitter.finish()


def parse_chunk(chunk: Chunk, findings: Findings) -> list[Node]:
    """The statements that a chunk is: one, unless it was taken out of its place."""
    builder = _TreeBuilder(findings)
    for line in chunk.lines(findings):
        builder.add_line(line)
    return builder.root
