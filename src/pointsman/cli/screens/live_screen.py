# SPDX-License-Identifier: Apache-2.0
"""A screen that is drawn again and again until Ctrl-C, as by watch(1)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable

from pointsman.cli.screens.coloured_lines import Line, coloured, cut, plain, wants_colour

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""Use the alternate screen without a cursor; back to the normal screen (xterm)."""
HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
UNLIMITED = 10_000
"""Columns of output that is not a terminal: lines are not broken, so that grep finds all of one."""
SMALLEST = 20
"""Columns; on a narrower terminal lines are cut."""

Draw = Callable[[int], Iterable[Line]]
"""Returns the lines for this width."""


class LiveScreen:
    """Draws lines each `pause` seconds. It never draws more than the terminal has room for."""

    def __init__(self, pause: float) -> None:
        self._pause = pause

    def run(self, draw: Draw) -> None:
        """Draw until Ctrl-C or SIGTERM, or until nobody reads the output. Leave the terminal as it was."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        is_terminal = sys.stdout.isatty()
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            try:
                self._write(ENTER if is_terminal else "")
                while True:
                    self._write(self._frame(draw) if is_terminal else self._page(draw))
                    time.sleep(self._pause)
            finally:
                self._write(LEAVE if is_terminal else "")

    def _frame(self, draw: Draw) -> str:
        """Return one drawing of the terminal, from its first cell to its last."""
        columns, rows = shutil.get_terminal_size()
        lines = list(draw(max(columns, SMALLEST)))
        room = max(rows - 2, 1)
        shown = [
            [(f"{time.strftime('%H:%M:%S')}  each {self._pause:g} s; Ctrl-C ends", "dim")],
            *lines[:room],
        ]
        if len(lines) > room:
            shown[-1] = [(f"... {len(lines) - room + 1} more lines", "dim")]
        write = coloured if wants_colour() else plain
        ends = f"{TO_LINE_END}\n"
        return HOME + ends.join(write(cut(line, columns)) for line in shown) + TO_LINE_END + TO_SCREEN_END

    def _page(self, draw: Draw) -> str:
        """Return one drawing without control characters, for a file or a pipe."""
        return "".join(f"{plain(line)}\n" for line in draw(UNLIMITED)) + "\n"

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
