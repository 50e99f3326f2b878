# SPDX-License-Identifier: Apache-2.0
"""Types of values: each reads the words after a keyword, or says which value is expected."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pointsman.model.address import Address


class BadValueError(Exception):
    """A value is not of its type. `index` is the index of the wrong word, the text the reason."""

    def __init__(self, text: str, index: int = 0) -> None:
        super().__init__(text)
        self.index = index


class Kind(Protocol):
    """The type of a value."""

    @property
    def expected(self) -> str:
        """The value that must follow the keyword, as text for people."""

    @property
    def words(self) -> int:
        """The highest number of words in the value."""

    def read(self, words: Sequence[str]) -> object:
        """Return the value of at most `words` words. Raises BadValueError."""


def _one(words: Sequence[str], expected: str) -> str:
    if not words:
        raise BadValueError(f"the value is missing; write {expected}")
    return words[0]


def _alternatives(choices: Sequence[str]) -> str:
    """Return `A, B or C`."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


class Flag(NamedTuple):
    """A word that stands alone."""

    expected: str = "no value"
    words: int = 0

    def read(self, words: Sequence[str]) -> object:
        return True


_BOOLEANS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


class Boolean(NamedTuple):
    """on, true, yes, off, false, no; nothing means on."""

    expected: str = "on or off"
    words: int = 1

    def read(self, words: Sequence[str]) -> object:
        if not words:
            return True
        if words[0] not in _BOOLEANS:
            raise BadValueError(f"must be {self.expected}")
        return _BOOLEANS[words[0]]


class Integer(NamedTuple):
    """A decimal number of a range."""

    low: int
    high: int
    unit: str = ""
    bare: int | None = None
    """The value when nothing is written."""
    words: int = 1

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}" + (f" ({self.unit})" if self.unit else "")

    def read(self, words: Sequence[str]) -> object:
        if not words and self.bare is not None:
            return self.bare
        text = _one(words, self.expected)
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not self.low <= int(text) <= self.high:
            raise BadValueError(f"must be {self.expected}")
        return int(text)


def _decimal(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


class Seconds(NamedTuple):
    """A time in seconds, with a fraction down to the microsecond."""

    low: float
    high: float
    words: int = 1

    @property
    def expected(self) -> str:
        return f"a number of seconds from {_decimal(self.low)} to {_decimal(self.high)}"

    def read(self, words: Sequence[str]) -> object:
        text = _one(words, self.expected)
        if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text):
            raise BadValueError(f"must be {self.expected}")
        value = round(float(text), 6)
        if not self.low <= value <= self.high:
            raise BadValueError(f"must be {self.expected}")
        return value


class Milliseconds(NamedTuple):
    """A time written in milliseconds, with a fraction down to the microsecond; its value is in seconds."""

    low: float
    high: float
    words: int = 1

    @property
    def expected(self) -> str:
        return f"a number of milliseconds from {_decimal(self.low)} to {_decimal(self.high)}"

    def read(self, words: Sequence[str]) -> object:
        text = _one(words, self.expected)
        if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{0,9})?", text) or not self.low <= float(text) <= self.high:
            raise BadValueError(f"must be {self.expected}")
        return round(float(text) / 1000, 6)


class Text(NamedTuple):
    """One word, or a quoted text."""

    expected: str = "a word, or a text in quotes"
    longest: int = 255
    words: int = 1

    def read(self, words: Sequence[str]) -> object:
        text = _one(words, self.expected)
        if not text or len(text) > self.longest:
            raise BadValueError(f"must be {self.expected}, 1 to {self.longest} characters")
        return text


class Interface(NamedTuple):
    """The name of a network interface (linux/if.h: at most 15 bytes, no slash)."""

    expected: str = "the name of an interface, at most 15 characters"
    words: int = 1

    def read(self, words: Sequence[str]) -> object:
        name = _one(words, self.expected)
        if not 1 <= len(name.encode()) <= 15 or "/" in name or name in (".", ".."):
            raise BadValueError(f"must be {self.expected}")
        return name


class Choice(NamedTuple):
    """One of a few words, in their own case unless `any_case`."""

    choices: tuple[str, ...]
    any_case: bool = False
    words: int = 1

    @property
    def expected(self) -> str:
        return _alternatives(self.choices)

    def read(self, words: Sequence[str]) -> object:
        text = _one(words, self.expected)
        for choice in self.choices:
            if choice == text or (self.any_case and choice.lower() == text.lower()):
                return choice
        raise BadValueError(f"must be {self.expected}")


class Ip(NamedTuple):
    """An IPv4 or IPv6 address. A prefix length behind it has no effect, as in keepalived."""

    expected: str = "an IP address"
    words: int = 1

    def read(self, words: Sequence[str]) -> object:
        return parse_host(_one(words, self.expected))


class Endpoint(NamedTuple):
    """An address and perhaps a port; without one the port is None."""

    expected: str = "an IP address and a port"
    words: int = 2
    zero: bool = False
    """Port 0 is none, too, as for real servers of keepalived."""

    def read(self, words: Sequence[str]) -> object:
        address = parse_host(_one(words, self.expected))
        without = len(words) < 2 or (self.zero and words[1] == "0")
        return address, None if without else parse_port(words[1])


class HostPort(NamedTuple):
    """A host name or an address, and perhaps a port."""

    expected: str = "a host name or an address, and perhaps a port"
    words: int = 2

    def read(self, words: Sequence[str]) -> object:
        host = _one(words, self.expected)
        if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,255}", host):
            raise BadValueError(f"must be {self.expected}")
        return host, parse_port(words[1]) if len(words) > 1 else None


class Granularity(NamedTuple):
    """A netmask or a prefix length; the value is the prefix length. 0: all clients count as one."""

    expected: str = "a netmask such as 255.255.255.0, or a prefix length"
    words: int = 1

    def read(self, words: Sequence[str]) -> object:
        text = _one(words, self.expected)
        try:
            if "." in text:
                return ipaddress.IPv4Network(f"0.0.0.0/{text}").prefixlen
        except ValueError:
            raise BadValueError(f"must be {self.expected}") from None
        if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > 128:
            raise BadValueError(f"must be {self.expected}")
        return int(text)


class Texts(NamedTuple):
    """Some of a few words; those of `without_effect` are known, and left out of the value."""

    choices: tuple[str, ...]
    without_effect: Sequence[str] = ()
    words: int = 64

    @property
    def expected(self) -> str:
        return f"one or more of {', '.join(self.choices)}"

    def read(self, words: Sequence[str]) -> object:
        _one(words, self.expected)
        for index, word in enumerate(words):
            if word not in self.choices and word not in self.without_effect:
                raise BadValueError(f"must be {self.expected}", index)
        return tuple(word for word in words if word in self.choices)


class Ranges(NamedTuple):
    """Numbers and ranges of numbers: 200-299 404; the value is their pairs of first and last."""

    low: int
    high: int
    words: int = 64

    @property
    def expected(self) -> str:
        return f"a number or a range such as 200-299, from {self.low} to {self.high}"

    def read(self, words: Sequence[str]) -> object:
        _one(words, self.expected)
        found = []
        for index, word in enumerate(words):
            match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if not self.low <= first <= last <= self.high:
                raise BadValueError(f"must be {self.expected}", index)
            found.append((first, last))
        return tuple(found)


class Md5(NamedTuple):
    """32 hexadecimal digits; the value is in lower case."""

    expected: str = "an MD5 digest of 32 hexadecimal digits"
    words: int = 1

    def read(self, words: Sequence[str]) -> object:
        text = _one(words, self.expected)
        if not re.fullmatch(r"[0-9a-fA-F]{32}", text):
            raise BadValueError(f"must be {self.expected}")
        return text.lower()


class Hexadecimal(NamedTuple):
    """Bytes in hexadecimal, as free in form as keepalived's; the value is bytes, and the bits that count."""

    wildcards: bool = False
    """True if x stands for four bits that do not count."""
    bare: bool = False
    """True if the value may be missing."""
    words: int = 1000

    @property
    def expected(self) -> str:
        return "bytes in hexadecimal" + (", x for any digit" if self.wildcards else "")

    def read(self, words: Sequence[str]) -> object:
        if not words and self.bare:
            return b"", b""
        _one(words, self.expected)
        data, mask = bytearray(), bytearray()
        for index, word in enumerate(words):
            for part in word.split():
                if not re.fullmatch(r"[0-9a-fA-FxX]+" if self.wildcards else r"[0-9a-fA-F]+", part):
                    raise BadValueError(f"must be {self.expected}", index)
                for at in range(0, len(part), 2):
                    digits = part[at : at + 2]
                    data.append(int(digits.lower().replace("x", "0"), 16))
                    counting = "".join("0" if sign in "xX" else "f" for sign in digits.rjust(2, "0"))
                    mask.append(int(counting, 16))
        return bytes(data), bytes(mask)


class Anything(NamedTuple):
    """Any words, unread: the code of the block reads them, or nothing does."""

    expected: str = "its value"
    words: int = 1_000_000

    def read(self, words: Sequence[str]) -> object:
        return tuple(words)


class Words(NamedTuple):
    """One or more words that belong together."""

    expected: str
    words: int = 64

    def read(self, words: Sequence[str]) -> object:
        _one(words, self.expected)
        return tuple(words)


NAME = Text("a name")
PATH = Text("a path", 4095)
OWNER = Anything("USER [GROUP]", words=2)
COMMAND = Anything("a command line, in quotes when it has arguments, and perhaps USER [GROUP]", words=3)
COMMAND_LINE = Anything("a command line, in quotes when it has arguments", words=1)
BLOCK_OF_VALUES = Anything("a block of values")
EVERY_UNSIGNED = 2**32 - 1
"""The highest number of an `unsigned`."""


def weight_up_to(most: int) -> Anything:
    """Return the type of `weight`, whose words the block's own code reads."""
    return Anything(f"a number from -{most} to {most}, and perhaps reverse", words=2)


def parse_address(text: str, index: int = 0) -> Address:
    """Return the address as written. Raises BadValueError."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise BadValueError(f"{text} is not an IP address", index) from None


_PREFIX = re.compile(r"/[0-9]{1,3}$")


def parse_host(text: str, index: int = 0) -> Address:
    """Return the address of `IP` or `IP/LENGTH`. Raises BadValueError."""
    address, slash, length = text.partition("/")
    found = parse_address(address if slash and _PREFIX.match(f"/{length}") else text, index)
    if slash and int(length) > found.max_prefixlen:
        raise BadValueError(f"/{length} is longer than the address", index)
    return found


def prefix_without_effect(kind: Kind, words: Sequence[str]) -> str:
    """Return the prefix length behind an address of these types, such as /24. Empty: there is none."""
    found = _PREFIX.search(words[0]) if words and isinstance(kind, Ip | Endpoint) else None
    return found[0] if found else ""


def parse_port(text: str) -> int:
    """Return a port, 1 to 65535. Raises BadValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise BadValueError(f"{text} is not a port from 1 to 65535", 1)
    return int(text)
