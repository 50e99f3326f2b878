# SPDX-License-Identifier: Apache-2.0
"""Format blocks and values of canonical keepalived.conf."""

from __future__ import annotations

from collections.abc import Iterator

_INDENT = "    "


def format_block(head: str, lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a block, indented."""
    yield f"{head} {{"
    for line in lines:
        yield _INDENT + line
    yield "}"


def format_text(value: str) -> str:
    """Return a value, in quotes if it needs them."""
    plain = value and all(sign.isalnum() or sign in "._-+@:/%,=*" for sign in value) and value.isascii()
    return value if plain else f'"{value}"'


def format_switch(value: bool) -> str:
    """Return `on` or `off`."""
    return "on" if value else "off"


def format_seconds(value: float) -> str:
    """Return seconds without trailing zeros, exact to the microsecond."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
