# SPDX-License-Identifier: Apache-2.0
"""Split the text of a virtual_server block into its shape and its values.

The shape of a virtual server is its text without real servers. The shape of a real server is the text of its
block. A shape has no addresses, no port, and no values of keywords that only copy them into the model.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

from pointsman.conf.text.source import inside_braces
from pointsman.model.address import Address

NUMBERS = ("weight", "connect_port", "persistence_timeout", "bind_port", "misc_timeout")
SMALL_NUMBERS = ("retry", "rise")
SECONDS = ("delay_loop", "delay_before_retry", "warmup", "slow_start", "drain")
SHORT_SECONDS = ("connect_timeout",)
NAMES = ("virtualhost",)
PATHS = ("path",)
DIGESTS = ("digest",)
PROGRAMS = ("misc_path", "notify_up", "notify_down", "quorum_up", "quorum_down")
"""Keywords whose values are only copied into the model. Apart from a quorum nothing depends on them."""

_SIGN = rb"[A-Za-z0-9._/:=@%,+-]"
_PLAIN = {
    NUMBERS: rb"[1-9][0-9]{0,3}",
    SMALL_NUMBERS: rb"[1-9][0-9]{0,2}",
    SECONDS: rb"[1-9][0-9]{0,3}(?:\.[0-9]{1,6})?",
    SHORT_SECONDS: rb"[1-9][0-9]{0,2}(?:\.[0-9]{1,6})?",
    NAMES: rb"[A-Za-z0-9.-]++",
    PATHS: rb"/[A-Za-z0-9._/-]*+",
    DIGESTS: rb"[0-9a-f]{32}",
}
_BEFORE = b"|".join(
    [
        *(rb"(?:%b)[ \t]++(?=%b[ \t\r]*+\n)" % ("|".join(words).encode(), _PLAIN[words]) for words in _PLAIN),
        rb'(?:%b)[ \t]++"(?=/%b*+(?>(?: %b++)*)"[ \t\r]*+\n)' % ("|".join(PROGRAMS).encode(), _SIGN, _SIGN),
    ]
)
_VALUES = re.compile(rb'(\n[ \t]*+(?:%b))([^\s"]++(?>(?: [^\s"]++)*))' % _BEFORE)
"""Such a keyword, alone in its line: the text before its value, and the value.

Groups are atomic and not possessive, here and elsewhere: before Python 3.11.5 a possessive group keeps the
match of a failed attempt (CPython gh-106052).
"""

_ALL_VALUES = re.compile(
    rb"((?:\n[ \t]*+(?:%b))|_server (?=[0-9A-Fa-f.:]++ [1-9][0-9]{0,4}[\s{}]))"
    rb'([^\s"{}]++(?>(?: [^\s"{}]++)*))' % _BEFORE
)
"""The same, and each server: its value is address and port."""

_ALL_COUNT = re.compile(rb"\squorum\s")
"""A block with a quorum, which depends on the weights of all real servers."""

_ADDRESS_AND_PORT = (
    rb"((?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})|[0-9A-Fa-f.]*+:[0-9A-Fa-f:.]++)"
    rb"[ \t]++([1-9][0-9]{0,4})(?=[\s{}])"
)
_HEAD = re.compile(rb"([ \t]*+virtual_server[ \t]++)" + _ADDRESS_AND_PORT)
_SERVERS = re.compile(rb"_server(?<!virtual_server)[ \t]++" + _ADDRESS_AND_PORT)
"""Address and port of real servers and sorry servers."""
_BLOCK = re.compile(rb"\s*+\{%b\}" % inside_braces(3))

MAX_CACHED = 8 << 20
"""Limit of cached texts in bytes."""


class ServerText(NamedTuple):
    """The text after the address and port of a real server or sorry server, up to the next server."""

    block: bytes
    """The block of the real server; empty for a sorry server."""
    rest: bytes
    lines: int
    """Number of line ends in `block`."""
    lines_of_rest: int


class SplitCache:
    """Cache of texts split into block and rest. Most such texts occur many times."""

    def __init__(self) -> None:
        self._known: dict[bytes, ServerText] = {}
        self._free_bytes = MAX_CACHED

    def split(self, text: bytes) -> ServerText:
        known = self._known.get(text)
        if known is None:
            found = _BLOCK.match(text)
            block, rest = (text[: found.end()], text[found.end() :]) if found else (b"", text)
            known = ServerText(block, rest, block.count(b"\n"), rest.count(b"\n"))
            if self._free_bytes > len(text):
                self._free_bytes -= len(text)
                self._known[text] = known
        return known


class SplitBlock:
    """A virtual_server block, split."""

    __slots__ = ("depends", "first", "heads", "own", "pieces", "port", "shape", "start", "values")

    def __init__(
        self, start: bytes, heads: list[bytes], port: int, first: bytes, pieces: list[ServerText]
    ) -> None:
        self.start = start
        """The text before the first address."""
        self.heads = heads
        """Addresses; the first one is that of the virtual server."""
        self.port = port
        """The port, which is the same for all addresses."""
        self.first = first
        """The text between the virtual server's port and the first real server."""
        self.pieces = pieces
        own = b"\0".join([first, *[piece.rest for piece in pieces]])
        self.own = own
        """The virtual server's own text. A NUL stands for each server in it."""
        self.depends = bool(b"quorum" in own and _ALL_COUNT.search(own)) or not (
            b"lvs_method" in own or b"lb_kind" in own
        )
        """True if the virtual server depends on the values of its real servers."""
        if self.depends:
            self.shape = b"\0".join((own, *(piece.block for piece in pieces)))
            self.values: list[bytes] = []
        else:
            self.shape, self.values = split_values(own)

    @classmethod
    def parse(cls, text: bytes, cache: SplitCache) -> SplitBlock | None:
        """Split a block without comments. None: it has another form."""
        head = _HEAD.match(text)
        if head is None:
            return None
        found = _SERVERS.split(text[head.end() :])
        port = head[3]
        if found[2::3].count(port) < len(found) // 3 or int(port) > 65535:
            return None
        pieces = list(map(cache.split, found[3::3]))
        return cls(head[1], [head[2], *found[1::3]], int(port), found[0], pieces)

    def text(self, heads: Sequence[bytes], port: int, values: Sequence[bytes], blocks: list[bytes]) -> bytes:
        """Return the text of the block with other addresses, port, values and blocks."""
        first, *rest = (insert_values(self.own, values) if values else self.own).split(b"\0")
        places = [b"%b %d" % (head, port) for head in heads]
        servers = (b"_server %b%b%b" % each for each in zip(places[1:], blocks, rest, strict=True))
        return self.start + places[0] + first + b"".join(servers)


def split_values(text: bytes) -> tuple[bytes, list[bytes]]:
    """Return a text without its values, and the values."""
    pieces = _VALUES.split(text)
    values = pieces[2::3]
    del pieces[2::3]
    return b"\0".join(pieces), values


def insert_values(text: bytes, values: Sequence[bytes]) -> bytes:
    """Return a text with other values in place of its own."""
    pieces = _VALUES.split(text)
    pieces[2::3] = values
    return b"".join(pieces)


def split_all(text: bytes) -> tuple[bytes, list[bytes]]:
    """Return a block without addresses, ports and values, and these in the order of the text."""
    pieces = _ALL_VALUES.split(text)
    values = pieces[2::3]
    del pieces[2::3]
    if values and b":" in values[0]:
        pieces.append(b"IPv6")
    return b"\0".join(pieces), values


_OCTETS = {b"%d" % number: number for number in range(256)}


def parse_addresses(texts: list[bytes]) -> list[Address] | None:
    """Return the addresses. None: one is invalid or repeated, or the families differ."""
    if len(set(texts)) < len(texts):
        return None
    try:
        joined = b".".join(texts)
        if b":" in joined:
            return [ipaddress.IPv6Address(text.decode()) for text in texts]
        octets = bytes(map(_OCTETS.__getitem__, joined.split(b".")))
        return list(map(ipaddress.IPv4Address, struct.unpack(f"!{len(texts)}I", octets)))
    except (ValueError, KeyError):
        return None
