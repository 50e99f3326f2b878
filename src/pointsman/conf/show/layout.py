"""How canonical keepalived.conf is laid out: blocks, and values as they are read back."""

from __future__ import annotations

from collections.abc import Iterator

_INDENT = "    "


def format_block(head: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"{head} {{"
    for line in lines:
        yield _INDENT + line
    yield "}"


def format_text(value: str) -> str:
    """A value, in quotes where it would otherwise be taken apart."""
    plain = value and all(sign.isalnum() or sign in "._-+@:/%,=*" for sign in value) and value.isascii()
    return value if plain else f'"{value}"'


def format_switch(value: bool) -> str:
    return "on" if value else "off"


def format_seconds(value: float) -> str:
    """Seconds without needless digits, exact to the microsecond."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
