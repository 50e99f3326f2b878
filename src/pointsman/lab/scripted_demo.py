# SPDX-License-Identifier: Apache-2.0
"""Demo on the terminal: numbered steps, real commands, their output, and expectations."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from pointsman.lab.errors import LabError

_WORTH_TELLING = 0.05
"""Shortest time in seconds that is printed."""


class ScriptedDemo:
    """Printer of a demo. Remembers the expectations that were not met."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failed: list[str] = []
        self._steps = 0
        self._since = self._begun = time.monotonic()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a numbered step. A LabError inside is printed, counts as a failure, and is raised again."""
        self._steps += 1
        self.console.print()
        self.console.print(Text(f"{self._steps:2}  {title}", "bold"))
        self._since = time.monotonic()
        try:
            yield
        except LabError as error:
            self.expect(False, str(error))
            raise

    def command(self, where: str, text: str) -> None:
        """Print a command in the form in which it can be typed on that node."""
        self.console.print(Text.assemble(("    ", ""), (f"{where}$ ", "cyan"), text))

    def tell(self, text: str) -> None:
        """Print a remark."""
        self.console.print(Text(f"    {text}", "dim"))

    def output(self, text: str) -> None:
        """Print the output of a command."""
        for line in text.rstrip("\n").splitlines():
            self.console.print(Text(f"    {line}"))

    def expect(self, held: bool, text: str) -> None:
        """Print an expectation and the seconds since the previous line of the step."""
        now = time.monotonic()
        mark = ("✓ ", "bold green") if held else ("✗ ", "bold red")
        took = f"  {now - self._since:.1f} s" if now - self._since >= _WORTH_TELLING else ""
        self.console.print(Text.assemble("    ", mark, text, (took, "dim")))
        self._since = now
        if not held:
            self.failed.append(f"step {self._steps}: {text.splitlines()[0]}")

    def end(self) -> bool:
        """Print the summary. Return True if every expectation was met."""
        self.console.print()
        seconds = time.monotonic() - self._begun
        if self.failed:
            self.console.print(
                Text(f"{len(self.failed)} expectations were not met in {seconds:.0f} s:", "bold red")
            )
            for text in self.failed:
                self.console.print(Text(f"  ✗ {text}", "red"))
        else:
            self.console.print(Text(f"All expectations were met in {seconds:.0f} s.", "bold green"))
        return not self.failed
