"""A story on the terminal: numbered steps, real commands, what they show, expectations that hold or not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from pointsman.lab.errors import LabError

_WORTH_TELLING = 0.05
"""Seconds; less is written as 0.0."""


class ScriptedDemo:
    """Prints as it goes and remembers whether every expectation held."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failed: list[str] = []
        self._steps = 0
        self._since = self._begun = time.monotonic()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered step. A LabError inside it is printed, counts as a failure, and goes on upwards."""
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
        """A command as one could type it on that node."""
        self.console.print(Text.assemble(("    ", ""), (f"{where}$ ", "cyan"), text))

    def tell(self, text: str) -> None:
        """A remark on what is done."""
        self.console.print(Text(f"    {text}", "dim"))

    def output(self, text: str) -> None:
        """What a command has written."""
        for line in text.rstrip("\n").splitlines():
            self.console.print(Text(f"    {line}"))

    def expect(self, held: bool, text: str) -> None:
        """An expectation, with the seconds (if any) since the step, or the expectation before, began."""
        now = time.monotonic()
        mark = ("✓ ", "bold green") if held else ("✗ ", "bold red")
        took = f"  {now - self._since:.1f} s" if now - self._since >= _WORTH_TELLING else ""
        self.console.print(Text.assemble("    ", mark, text, (took, "dim")))
        self._since = now
        if not held:
            self.failed.append(f"step {self._steps}: {text.splitlines()[0]}")

    def end(self) -> bool:
        """The last lines; True when every expectation held."""
        self.console.print()
        seconds = time.monotonic() - self._begun
        if self.failed:
            self.console.print(
                Text(f"{len(self.failed)} expectations failed, after {seconds:.0f} s:", "bold red")
            )
            for text in self.failed:
                self.console.print(Text(f"  ✗ {text}", "red"))
        else:
            self.console.print(Text(f"All expectations held, in {seconds:.0f} s.", "bold green"))
        return not self.failed
