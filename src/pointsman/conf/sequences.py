"""`~SEQ(var, [start, [step,]] end) text`, `~SEQx` (hexadecimal), `~LST(var, v1, v2 ...) text`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from pointsman.conf.problems import Findings
from pointsman.conf.source import MAX_LINE, Line

MAX_UNROLLED = 65_536
"""Lines that one line may become: a /16 of addresses."""

_START = re.compile(r"~(SEQx?|LST)\(([^)]*)\)\s*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class _BadSequenceError(Exception):
    """Text of what is wrong with a `~SEQ(...)` or `~LST(...)`."""


def unroll(line: Line, findings: Findings) -> Iterator[Line]:
    """The lines that `line` stands for: itself when it has no sequence."""
    if "~" not in line.text or _START.search(line.text) is None:
        yield line
        return
    too_many = _too_many(line.text)
    if too_many is not None:
        text = f"{too_many[0].rstrip()} makes more than {MAX_UNROLLED} lines"
        findings.error(line.at(too_many.start()), text)
        return
    waiting, produced = [line], 0
    while waiting:
        current = waiting.pop()
        found = _START.search(current.text)
        if found is None:
            produced += 1
            yield current
            continue
        try:
            pieces = _rounds(current, found)
        except _BadSequenceError as error:
            findings.error(
                current.at(found.start()), str(error), "~SEQ(name, start, step, end)", len(found[0].rstrip())
            )
            return
        if produced + len(waiting) + len(pieces) > MAX_UNROLLED:
            findings.error(
                current.at(found.start()), f"{found[0].rstrip()} makes more than {MAX_UNROLLED} lines"
            )
            return
        waiting += reversed(pieces)


def _too_many(text: str) -> re.Match[str] | None:
    """The sequence of a line that makes it too many lines together with those before it."""
    lines = 1
    for found in _START.finditer(text):
        given = [argument.strip() for argument in found[2].split(",")][1:]
        with contextlib.suppress(_BadSequenceError):
            lines *= max(1, len(given if found[1] == "LST" else _numbers(found[1], given)))
        if lines > MAX_UNROLLED:
            return found
    return None


def _rounds(line: Line, found: re.Match[str]) -> list[Line]:
    """The line once for each value of its first sequence."""
    kind = found[1]
    arguments = [argument.strip() for argument in found[2].split(",")]
    name, given = arguments[0], arguments[1:]
    if not _NAME.fullmatch(name) or not given:
        raise _BadSequenceError(f"~{kind} wants a name and values")
    values = given if kind == "LST" else _numbers(kind, given)
    use = re.compile(rf"\$\{{{name}\}}|\${name}(?=\s|$)", re.ASCII)
    before, after = line.cut(0, found.start()), line.cut(found.end())
    whole = before.followed_by(after)
    return [_with_value(whole, use, value, f"~{kind}, {name} = {value}") for value in values]


def _numbers(kind: str, given: list[str]) -> list[str]:
    base = 16 if kind == "SEQx" else 10
    try:
        numbers = [int(text, base) for text in given]
    except ValueError:
        raise _BadSequenceError(f"~{kind} wants numbers, not {', '.join(given)}") from None
    if not 1 <= len(numbers) <= 3:
        raise _BadSequenceError(f"~{kind} takes at most start, step and end")
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else 1
    step = numbers[1] if len(numbers) == 3 else (1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        raise _BadSequenceError(f"~{kind} never gets from {start} to {end} by steps of {step}")
    if (end - start) // step >= MAX_UNROLLED:
        raise _BadSequenceError(f"~{kind} makes more than {MAX_UNROLLED} lines")
    return [
        format(number, "x" if base == 16 else "d")
        for number in range(start, end + (1 if step > 0 else -1), step)
    ]


def _with_value(line: Line, use: re.Pattern[str], value: str, through: str) -> Line:
    position = 0
    while found := use.search(line.text, position):
        middle = line.standing_for(found.start(), value, through)
        line = line.cut(0, found.start()).followed_by(middle).followed_by(line.cut(found.end()))
        position = found.start() + len(value)
        if len(line.text) > MAX_LINE:
            raise _BadSequenceError(f"the sequence makes a line of more than {MAX_LINE} bytes")
    return line
