# SPDX-License-Identifier: Apache-2.0
"""Lines with colours: folded and cut to the terminal."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pointsman.cli.screens.coloured_lines import Line, coloured, cut, fold, plain, wants_colour

WORDS = st.text("ab\N{CJK UNIFIED IDEOGRAPH-4E00} ", min_size=1, max_size=30).filter(
    lambda text: text.strip()
)
PIECES = st.lists(st.tuples(WORDS, st.sampled_from(["", "green", "bold red"])), max_size=6)


@given(pieces=PIECES, width=st.integers(10, 60), indent=st.integers(0, 7))
def test_folding_loses_no_word_and_breaks_where_it_can(pieces: Line, width: int, indent: int) -> None:
    lines = fold(pieces, width, indent)
    assert " ".join(map(plain, lines)).split() == " ".join(text for text, _ in pieces).split()
    for line in map(plain, lines):
        assert line == line.rstrip()
        assert len(line) <= width or len(line.split()) == 1
    assert all(plain(line).startswith(" " * indent) for line in lines[1:])


@given(pieces=PIECES)
def test_a_line_that_is_wide_enough_has_all_pieces_with_their_styles(pieces: Line) -> None:
    (line,) = fold(pieces, 10_000, 4)
    assert plain(line) == "  ".join(text for text, _ in pieces).rstrip()
    assert [style for text, style in line if text.strip()] == [style for _, style in pieces]


@given(line=PIECES, columns=st.integers(1, 60))
def test_a_line_is_cut_to_the_columns_of_the_terminal(line: Line, columns: int) -> None:
    text = plain(cut(line, columns))
    whole = plain(line)
    assert whole.startswith(text) and cell_len(text) <= columns
    assert text == whole or cell_len(text) >= columns - 1


def test_colours_are_those_of_the_pieces() -> None:
    assert coloured([("up", "green"), ("  ", ""), ("DOWN", "bold red")]) == (
        "\x1b[32mup\x1b[0m  \x1b[1;31mDOWN\x1b[0m"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"TERM": "xterm"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
    ],
)
def test_only_a_terminal_with_colours_gets_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], expected: bool
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal() if terminal else io.StringIO())
    assert wants_colour() is expected
