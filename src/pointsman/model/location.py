"""Where a piece of configuration was written."""

from __future__ import annotations

import msgspec


class Location(msgspec.Struct, frozen=True, order=True, omit_defaults=True, gc=False):
    """A place in a configuration file; line and column count from 1."""

    file: str
    line: int
    column: int
    through: str = ""
    """The definition or sequence that the text came from, when it does not stand there itself."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
