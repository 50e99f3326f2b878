# SPDX-License-Identifier: Apache-2.0
"""Split a command line as the popt library does, which ipvsadm uses (popt(3))."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence

import msgspec

from pointsman.lvs.ipvsadm.errors import REFUSED_BY_KERNEL, CommandError


class Argument(enum.Enum):
    NONE = enum.auto()
    REQUIRED = enum.auto()
    OPTIONAL = enum.auto()
    """The next word is the value, except if it begins with `-`."""


class Option(msgspec.Struct, frozen=True):
    long: str
    short: str = ""
    argument: Argument = Argument.NONE


class Given(msgspec.Struct, frozen=True):
    """An option found on the command line."""

    option: Option
    value: str | None
    word: str
    """Word of the command line that contains the option, for messages."""


class OptionReader:
    """Iterator over the options of a command line. `leftover` collects the words that are not options."""

    def __init__(self, words: Sequence[str], options: Sequence[Option]) -> None:
        self._words = list(words)
        self._next = 0
        self._long = {option.long: option for option in options}
        self._short = {option.short: option for option in options if option.short}
        self.leftover: list[str] = []

    def __iter__(self) -> Iterator[Given]:
        """Yield the options in order. Raises CommandError with popt's text for a word that cannot be
        parsed."""
        while self._next < len(self._words):
            word = self._next_word()
            if word == "--":
                self.leftover += self._words[self._next :]
                return
            if len(word) < 2 or word[0] != "-":
                self.leftover.append(word)
            elif word.startswith("--"):
                yield self._read_long(word)
            else:
                yield from self._read_short(word)

    def _next_word(self) -> str:
        self._next += 1
        return self._words[self._next - 1]

    def _read_long(self, word: str) -> Given:
        name, equals, value = word[2:].partition("=")
        option = self._long.get(name)
        if option is None:
            raise _parse_error(word, "unknown option")
        if option.argument is Argument.NONE:
            if equals:
                raise _parse_error(word, "option does not take an argument")
            return Given(option, None, word)
        return self._with_value(option, value if equals else None, word)

    def _read_short(self, word: str) -> Iterator[Given]:
        rest = word[1:]
        while rest:
            option, rest = self._short.get(rest[0]), rest[1:]
            if option is None:
                raise _parse_error(word, "unknown option")
            if option.argument is Argument.NONE:
                yield Given(option, None, word)
            else:
                yield self._with_value(option, rest.removeprefix("=") if rest else None, word)
                return

    def _with_value(self, option: Option, attached: str | None, word: str) -> Given:
        if attached is not None:
            return Given(option, attached, word)
        if self._next == len(self._words):
            if option.argument is Argument.REQUIRED:
                raise _parse_error(word, "missing argument")
            return Given(option, None, word)
        if option.argument is Argument.OPTIONAL and self._words[self._next].startswith("-"):
            return Given(option, None, word)
        value = self._next_word()
        return Given(option, value, value)


def _parse_error(word: str, why: str) -> CommandError:
    return CommandError(f"{word}: {why}", REFUSED_BY_KERNEL)
