# SPDX-License-Identifier: Apache-2.0
"""Read the words of a line in iproute2's syntax, one after the other."""

from __future__ import annotations

import ipaddress
import re

from pointsman.conf.keywords.values import BadValueError, Interface, parse_address
from pointsman.model.address import Address, Network


class Words:
    """The words of a line, with a position."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0

    @property
    def has_more(self) -> bool:
        return self.at < len(self.words)

    def take(self) -> str:
        """Return the next word. Raises BadValueError, at the word before, if there is none."""
        if not self.has_more:
            raise BadValueError("the value is missing", self.at - 1)
        self.at += 1
        return self.words[self.at - 1]

    def peek(self) -> str:
        return self.words[self.at] if self.has_more else ""

    def number(self, low: int, high: int) -> int:
        return parse_number(self.take(), low, high, self.at - 1)

    def interface(self) -> str:
        name = self.take()
        try:
            Interface().read([name])
        except BadValueError as error:
            raise BadValueError(str(error), self.at - 1) from None
        return name

    def address(self) -> Address:
        if self.peek() in ("inet", "inet6"):
            self.take()
        text = self.take()
        return parse_address(text, self.at - 1)

    def network(self) -> Network:
        text = self.take()
        try:
            return ipaddress.ip_network(text)
        except ValueError:
            raise BadValueError(f"{text} is not a network, such as 192.0.2.0/24", self.at - 1) from None


def parse_number(text: str, low: int, high: int, at: int) -> int:
    """Return a decimal or hexadecimal number. Raises BadValueError."""
    if not re.fullmatch(r"[0-9]{1,10}|0[xX][0-9a-fA-F]{1,8}", text) or not low <= int(text, 0) <= high:
        raise BadValueError(f"must be a number from {low} to {high}", at)
    return int(text, 0)


def parse_realms(text: str, at: int) -> int:
    """Return `[FROM/]TO` as the kernel's 32-bit number. Raises BadValueError."""
    first, slash, second = text.partition("/")
    if not slash:
        return parse_number(first, 1, 0xFFFF, at)
    return parse_number(first, 0, 0xFFFF, at) << 16 | parse_number(second, 0, 0xFFFF, at)
