# SPDX-License-Identifier: Apache-2.0
"""The preprocessor: remove comments, follow includes, apply conditions, expand definitions and sequences.

The order is keepalived's (lib/parser.c): comment, include, `@id` condition, `$NAME=` definition, use of
definitions, `~SEQ`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from pointsman.conf.text.definitions import Definitions
from pointsman.conf.text.problems import Findings, TooManyProblemsError
from pointsman.conf.text.sequences import unroll
from pointsman.conf.text.source import (
    MAX_BYTES,
    Chunk,
    FileReader,
    Line,
    Source,
    Sources,
    split_file,
    strip_comment,
)
from pointsman.model.location import Location

MAX_INCLUDE_DEPTH = 16

MAX_EXPANDED = 100_000
"""Limit of lines that sequences and definitions expand to, in total."""

_INCLUDE = re.compile(r"\s*(include[rmwba]?)(?=\s|$)\s*(.*?)\s*$", re.ASCII)
_CONDITION = re.compile(r"\s*@(\^?)(\S*)", re.ASCII)
_REQUIRED = frozenset("rmwba")
"""Letters of the include variants. With each of them it is an error if no file matches."""


class Preprocessor:
    """The preprocessor of one configuration. `lines` yields the lines for the tokenizer."""

    def __init__(
        self,
        reader: FileReader,
        findings: Findings,
        sources: Sources,
        config_id: str,
        host_name: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._reader = reader
        self._findings = findings
        self._sources = sources
        self._config_id = config_id
        self._definitions = Definitions(findings, host_name, environment or {})
        self._left = MAX_BYTES
        self._expanded_count = 0

    def lines(self, name: str) -> Iterator[Line | Chunk]:
        """Yield the lines of the file `name` and of its includes. Problems go to the findings."""
        yield from self._read_file(name, None, ())

    def _read_file(self, name: str, included: Line | None, chain: tuple[str, ...]) -> Iterator[Line | Chunk]:
        place = included.at(0) if included else Location(name, 1, 1)
        if name in chain:
            self._findings.error(place, f"{name} includes itself: {' -> '.join((*chain, name))}")
            return
        if len(chain) >= MAX_INCLUDE_DEPTH:
            self._findings.error(place, f"includes nested deeper than {MAX_INCLUDE_DEPTH}")
            return
        data = self._read_bytes(name, place)
        if data is None:
            return
        self._sources.setdefault(name, Source(data, place if included else None))
        pieces = (
            piece if isinstance(piece, Chunk) else strip_comment(piece)
            for piece in split_file(data, name, self._findings)
        )
        for piece in self._definitions.collect(pieces):
            if isinstance(piece, Chunk):
                yield piece
            else:
                yield from self._process_line(piece, (*chain, name))

    def _read_bytes(self, name: str, place: Location) -> bytes | None:
        try:
            data = self._reader.read(name, self._left + 1)
        except OSError as error:
            self._findings.error(place, f"cannot read {name}: {(error.strerror or str(error)).lower()}")
            return None
        if len(data) > self._left:
            self._findings.error(place, f"{name}: the configuration is larger than {MAX_BYTES >> 20} MiB")
            raise TooManyProblemsError
        self._left -= len(data)
        return data

    def _process_line(self, line: Line, chain: tuple[str, ...]) -> Iterator[Line | Chunk]:
        if "include" in line.text and (include := _INCLUDE.match(line.text)):
            yield from self._process_include(line, include, chain)
            return
        if "@" in line.text and (condition := _CONDITION.match(line.text)):
            if (condition[2] == self._config_id) == bool(condition[1]):
                return
            line = line.cut(condition.end())
        if "$" not in line.text and "~" not in line.text:
            yield line
            return
        for unrolled in unroll(line, self._findings):
            for expanded in self._definitions.expand(unrolled):
                for made in unroll(expanded, self._findings):
                    self._expanded_count += 1
                    if self._expanded_count > MAX_EXPANDED:
                        text = f"sequences and definitions make more than {MAX_EXPANDED} lines"
                        self._findings.error(line.at(0), text)
                        raise TooManyProblemsError
                    yield from [made] if made is expanded else self._definitions.expand(made)

    def _process_include(
        self, line: Line, include: re.Match[str], chain: tuple[str, ...]
    ) -> Iterator[Line | Chunk]:
        pattern = include[2].strip('"')
        place = line.at(include.start(1))
        if not pattern:
            self._findings.error(place, f"{include[1]} needs the name of a file", width=len(include[1]))
            return
        here = PurePosixPath(chain[-1]).parent
        try:
            paths = self._reader.matches(str(here / pattern))
        except OSError as error:
            self._findings.error(place, f"cannot read {pattern}: {error.strerror}", width=len(include[1]))
            return
        if not paths:
            text = f"no file matches {pattern}"
            if include[1][-1] in _REQUIRED and include[1] != "include":
                self._findings.error(line.at(include.start(2)), text, width=len(pattern))
            else:
                self._findings.warning(line.at(include.start(2)), text, width=len(pattern))
        for path in paths:
            yield from self._read_file(path, line, chain)
