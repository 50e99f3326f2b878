# SPDX-License-Identifier: Apache-2.0
"""Sequences: `~SEQ(var, [start, [step,]] end) text`, `~SEQx` (hexadecimal), `~LST(var, v1, v2 ...) text`.

A list may have several variables at once: `~LST({a, b}, {1, 2}, {3, 4}) text`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from pointsman.conf.text.problems import Findings
from pointsman.conf.text.source import MAX_LINE, Line

MAX_UNROLLED = 65_536
"""Limit of lines that one line may become: a /16 of addresses."""

START = re.compile(r"~(SEQx?|LST)\(([^)]*)\)\s*", re.ASCII)
"""The beginning of a sequence."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ARGUMENT = re.compile(r"\s*(\{[^{}]*\}|[^,{}]*)\s*(?:,|$)")
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,10}|[1-9][0-9]{0,9})")
"""A number as in C: 0x makes it hexadecimal, a leading 0 octal."""
_FORMS = {
    "SEQ": "~SEQ(name, start, step, end)",
    "SEQx": "~SEQx(name, start, step, end)",
    "LST": "~LST(name, a, b) or ~LST({name, other}, {a, 1}, {b, 2})",
}


class _BadSequenceError(Exception):
    """A `~SEQ(...)` or `~LST(...)` is wrong. The text is the reason."""


def unroll(line: Line, findings: Findings) -> Iterator[Line]:
    """Yield the lines that `line` stands for: itself if it has no sequence."""
    if "~" not in line.text or START.search(line.text) is None:
        yield line
        return
    too_many = _find_oversized(line.text)
    if too_many is not None:
        text = f"{too_many[0].rstrip()} makes more than {MAX_UNROLLED} lines"
        findings.error(line.at(too_many.start()), text)
        return
    waiting, produced = [line], 0
    while waiting:
        current = waiting.pop()
        found = START.search(current.text)
        if found is None:
            produced += 1
            yield current
            continue
        try:
            pieces = _unroll_first(current, found)
        except _BadSequenceError as error:
            findings.error(current.at(found.start()), str(error), _FORMS[found[1]], len(found[0].rstrip()))
            return
        if produced + len(waiting) + len(pieces) > MAX_UNROLLED:
            findings.error(
                current.at(found.start()), f"{found[0].rstrip()} makes more than {MAX_UNROLLED} lines"
            )
            return
        waiting += reversed(pieces)


def _find_oversized(text: str) -> re.Match[str] | None:
    """Return the first sequence that, with those before it, makes more than MAX_UNROLLED lines."""
    lines = 1
    for found in START.finditer(text):
        with contextlib.suppress(_BadSequenceError):
            given = _arguments(found)[1:]
            lines *= max(1, len(given if found[1] == "LST" else _sequence_values(found[1], given)))
        if lines > MAX_UNROLLED:
            return found
    return None


def _arguments(found: re.Match[str]) -> list[str]:
    """Return the arguments between the parentheses. A list in braces is one argument."""
    arguments: list[str] = []
    position = 0
    while position < len(found[2]):
        argument = _ARGUMENT.match(found[2], position)
        if argument is None:
            raise _BadSequenceError(f"~{found[1]} is not understood from {found[2][position:]} on")
        arguments.append(argument[1].strip())
        position = argument.end()
    return arguments


def _split_list(text: str) -> list[str]:
    """Return `{a, b}` or `a` as a list."""
    return [each.strip() for each in text[1:-1].split(",")] if text.startswith("{") else [text]


def _unroll_first(line: Line, found: re.Match[str]) -> list[Line]:
    """Return the line once for each value of its first sequence."""
    kind = found[1]
    first, *given = _arguments(found) or [""]
    names = _split_list(first) if kind == "LST" else [first]
    if not all(map(_NAME.fullmatch, names)) or not given:
        raise _BadSequenceError(f"~{kind} needs a name and values")
    rounds = list(map(_split_list, given if kind == "LST" else _sequence_values(kind, given)))
    whole = line.cut(0, found.start()).followed_by(line.cut(found.end()))
    use = re.compile(rf"\$(?:\{{({'|'.join(names)})\}}|({'|'.join(names)})(?=\s|$))", re.ASCII)
    made = []
    for values in rounds:
        if len(values) != len(names):
            raise _BadSequenceError(f"~{kind} has {len(names)} names, but the values {', '.join(values)}")
        pairs = dict(zip(names, values, strict=True))
        told = ", ".join(f"{name} = {value}" for name, value in pairs.items())
        made.append(_substitute(whole, use, pairs, f"~{kind}, {told}"))
    return made


def _sequence_values(kind: str, given: list[str]) -> list[str]:
    bad = next((text for text in given if not _NUMBER.fullmatch(text)), None)
    if bad is not None:
        raise _BadSequenceError(
            f"~{kind} needs numbers such as 10, 0xa (hexadecimal) or 012 (octal), not {bad}"
        )
    numbers = [_parse_number(text) for text in given]
    if not 1 <= len(numbers) <= 3:
        raise _BadSequenceError(f"~{kind} takes at most start, step and end")
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else 1
    step = numbers[1] if len(numbers) == 3 else (1 if end >= start else -1)
    if kind == "SEQx" and min(start, end) < 0:
        raise _BadSequenceError("~SEQx allows no numbers below 0")
    if step == 0 or (end - start) * step < 0:
        raise _BadSequenceError(f"~{kind} never gets from {start} to {end} in steps of {step}")
    if (end - start) // step >= MAX_UNROLLED:
        raise _BadSequenceError(f"~{kind} makes more than {MAX_UNROLLED} lines")
    return [
        format(number, "x" if kind == "SEQx" else "d")
        for number in range(start, end + (1 if step > 0 else -1), step)
    ]


def _parse_number(text: str) -> int:
    digits = text.lstrip("+-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    return int(digits, base) * (-1 if text.startswith("-") else 1)


def _substitute(line: Line, use: re.Pattern[str], values: dict[str, str], through: str) -> Line:
    position = 0
    while found := use.search(line.text, position):
        value = values[found[1] or found[2]]
        middle = line.replacement(found.start(), value, through)
        line = line.cut(0, found.start()).followed_by(middle).followed_by(line.cut(found.end()))
        position = found.start() + len(value)
        if len(line.text) > MAX_LINE:
            raise _BadSequenceError(f"the sequence makes a line of more than {MAX_LINE} bytes")
    return line
