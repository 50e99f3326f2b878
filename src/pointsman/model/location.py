# SPDX-License-Identifier: Apache-2.0
"""Place of a piece of configuration in a file."""

from __future__ import annotations

import msgspec


class Location(msgspec.Struct, frozen=True, order=True, omit_defaults=True, gc=False):
    """A place in a configuration file. Line and column start at 1."""

    file: str
    line: int
    column: int
    through: str = ""
    """Definition or sequence that the text came from, if it is not in the file itself."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
