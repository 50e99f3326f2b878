"""Statements and blocks: the shape of a configuration, before any word of it has a meaning."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.conf.problems import Findings, TooManyProblemsError
from pointsman.conf.source import Line
from pointsman.conf.tokens import CLOSE, OPEN, Word, tokens

MAX_DEPTH = 32
"""Nested blocks; keepalived's language needs five."""

MAX_TOKENS = 2_000_000
"""10,000 virtual servers with four real servers each are about 1.4 million."""


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


class _Builder:
    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.root: list[Node] = []
        self._blocks: list[list[Node]] = [self.root]
        self._openers: list[Word] = []
        self._words: list[Word] = []
        self._tokens = 0

    def line(self, line: Line) -> None:
        for token in tokens(line, self._findings):
            self._tokens += 1
            if self._tokens > MAX_TOKENS:
                self._findings.error(token.location, f"more than {MAX_TOKENS} words")
                raise TooManyProblemsError
            brace = token.brace
            if brace == OPEN:
                self._open(token)
            elif brace == CLOSE:
                self._close(token)
            else:
                self._words.append(token)
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
            self._findings.unbalanced = True
            self._findings.error(
                token.location, "this } closes nothing", "remove it, or look for a } too many before it"
            )
            return
        self._openers.pop()
        self._blocks.pop()

    def finish(self) -> None:
        for opener in self._openers:
            self._findings.unbalanced = True
            self._findings.error(
                opener.location,
                "this block is never closed",
                "add } where it ends; the problem may lie before the end",
            )


def tree(lines: Iterable[Line], findings: Findings) -> list[Node]:
    """The statements on top level. Problems go to the findings."""
    builder = _Builder(findings)
    for line in lines:
        builder.line(line)
    builder.finish()
    return builder.root
