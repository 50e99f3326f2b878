# SPDX-License-Identifier: Apache-2.0
"""Numbers and times in words, for messages, logs and `status`."""

from __future__ import annotations

NEARLY_FULL = 0.9
"""Part of a table's entries in use from which it is nearly full."""


def count(number: int, noun: str, plural: str = "") -> str:
    """Return `1 error`, `2 errors`, `no errors`. `plural`: for nouns that do not just take an s."""
    if number == 1:
        return f"1 {noun}"
    return f"{number or 'no'} {plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return `45 s`, `29 min`, `5 h 12 min`, `3 d 4 h`: rounded down, in at most two units.

    Times below 10 s have a decimal: `0.4 s`.
    """
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 100:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def fullness(table: str, used: int, size: int, entries: str) -> str:
    """Describe a table that is nearly full, or that has more entries than it is made for."""
    if used > size:
        return f"the {table} has {used} {entries}, and is made for {size}"
    return f"the {table} is nearly full: {used} of {size} {entries}"
