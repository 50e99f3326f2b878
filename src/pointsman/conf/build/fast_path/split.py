"""The text of a virtual_server block taken apart: what blocks that are alike differ in, and the rest.

The shape of a virtual server is its own text without its real servers; that of a real server is the text of
its block. Neither holds addresses, the port, and the values of words that only pass them on to the model.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

from pointsman.conf.text.source import inside_braces
from pointsman.model.address import Address

NUMBERS = ("weight", "connect_port", "persistence_timeout", "delay_loop")
NAMES = ("virtualhost",)
PATHS = ("path",)
DIGESTS = ("digest",)
PROGRAMS = ("misc_path", "notify_up", "notify_down", "quorum_up", "quorum_down")
"""Words whose values go into the model as they are: nothing else depends on them, but for quorums."""

_SIGN = rb"[A-Za-z0-9._/:=@%,+-]"
_PLAIN = {
    NUMBERS: rb"[1-9][0-9]{0,3}",
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
"""Such a word with what is before its value, and the value; they have a line for themselves.

Groups are atomic here and elsewhere, not possessive: before Python 3.11.5 what a possessive group has tried
in vain stays matched (CPython gh-106052).
"""

_ALL_COUNT = re.compile(rb"\squorum\s")
"""In such a block the weights of all real servers matter together."""

_ADDRESS_AND_PORT = (
    rb"((?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})|[0-9A-Fa-f.]*+:[0-9A-Fa-f:.]++)"
    rb"[ \t]++([1-9][0-9]{0,4})(?=[\s{}])"
)
_HEAD = re.compile(rb"([ \t]*+virtual_server[ \t]++)" + _ADDRESS_AND_PORT)
_SERVERS = re.compile(rb"_server(?<!virtual_server)[ \t]++" + _ADDRESS_AND_PORT)
"""Address and port of real servers and sorry servers."""
_BLOCK = re.compile(rb"\s*+\{%b\}" % inside_braces(3))

MAX_CACHED = 8 << 20
"""Bytes of texts whose division is remembered."""


class ServerText(NamedTuple):
    """What is behind a real server's or a sorry server's address and port, up to the next one."""

    block: bytes
    """The real server's; empty for a sorry server."""
    rest: bytes
    lines: int
    """Of the block."""
    lines_of_rest: int


class SplitCache:
    """Divides what is behind address and port into block and rest; most such texts are there many times."""

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
    """A virtual_server block taken apart."""

    __slots__ = ("first", "heads", "own", "pieces", "port", "shape", "start", "values")

    def __init__(
        self, start: bytes, heads: list[bytes], port: int, first: bytes, pieces: list[ServerText]
    ) -> None:
        self.start = start
        """What is before the first address."""
        self.heads = heads
        """Addresses, that of the virtual server first."""
        self.port = port
        """Of all of them."""
        self.first = first
        """What is between the virtual server's port and the first real server."""
        self.pieces = pieces
        own = b"\0".join([first, *[piece.rest for piece in pieces]])
        self.own = own
        """The virtual server's own text: what is before, between (NUL) and behind the other servers."""
        if (b"quorum" in own and _ALL_COUNT.search(own)) or not (b"lvs_method" in own or b"lb_kind" in own):
            self.shape = b"\0".join((own, *(piece.block for piece in pieces)))
            self.values: list[bytes] = []
        else:
            self.shape, self.values = split_values(own)

    @classmethod
    def parse(cls, text: bytes, cache: SplitCache) -> SplitBlock | None:
        """The parts of a block without comments; None: it is none of those that can be taken apart."""
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
        """The text with other things in the same places."""
        first, *rest = (insert_values(self.own, values) if values else self.own).split(b"\0")
        places = [b"%b %d" % (head, port) for head in heads]
        servers = (b"_server %b%b%b" % each for each in zip(places[1:], blocks, rest, strict=True))
        return self.start + places[0] + first + b"".join(servers)


def split_values(text: bytes) -> tuple[bytes, list[bytes]]:
    """A text without its values, and these."""
    pieces = _VALUES.split(text)
    values = pieces[2::3]
    del pieces[2::3]
    return b"\0".join(pieces), values


def insert_values(text: bytes, values: Sequence[bytes]) -> bytes:
    pieces = _VALUES.split(text)
    pieces[2::3] = values
    return b"".join(pieces)


_OCTETS = {b"%d" % number: number for number in range(256)}


def parse_addresses(texts: list[bytes]) -> list[Address] | None:
    """None: one of them is no address, or stands there twice, or they are of two families."""
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
