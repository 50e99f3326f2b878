"""Where a piece of configuration was written."""

from __future__ import annotations

import msgspec


class Location(msgspec.Struct, frozen=True, order=True):
    """A place in a configuration file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
