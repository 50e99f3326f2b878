"""Thousands of virtual servers, most of them alike: from the third of a shape on they are made, not read.

A shape is the text of a virtual_server block without addresses and ports in its heads. The first blocks of a
shape are read like any other; when nothing was to be said about them, a function is compiled from the model
that came out, which makes the same model for other addresses, another port and another place. A law holds
both to be equal (tests/property/test_conf_shapes.py).
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from pointsman.conf.problems import Findings
from pointsman.conf.source import Chunk, bare
from pointsman.model.address import Address
from pointsman.model.checks import NetworkCheck
from pointsman.model.health import VirtualServer
from pointsman.model.location import Location
from pointsman.model.service import ServerKey, ServiceKey

MAX_SHAPES = 2000
"""Shapes kept; a configuration with more has few blocks that are alike."""

MAX_HEADS = 40
"""Addresses of a shape; in a block with more, reading it takes longer anyway."""

_HEADS = re.compile(
    rb"_server[ \t]++((?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})|[0-9A-Fa-f.]*+:[0-9A-Fa-f:.]++)"
    rb"[ \t]++([1-9][0-9]{0,4})(?=[\s{])"
)
"""Address and port behind virtual_server, real_server and sorry_server."""

Maker = Callable[[Sequence[Address], int, str, int], VirtualServer]
"""Addresses in the order of the text, port, file, number of the first line."""


class Shapes:
    """Makes virtual servers of chunks; `read` is the long way to do so."""

    def __init__(self, read: Callable[[Chunk], list[VirtualServer]], findings: Findings) -> None:
        self._read = read
        self._findings = findings
        self._makers: dict[object, Maker | None] = {}
        self._once: set[int] = set()
        """Hashes of shapes that were read once: most of them may be the only one of their kind."""

    def virtual_servers(self, chunk: Chunk) -> list[VirtualServer]:
        """What this block stands for: one virtual server as a rule, none when it cannot be read."""
        if chunk.odd or b"\\" in chunk.text:
            return self._read(chunk)
        text = bare(chunk.text)
        parts = _HEADS.split(text)
        heads, ports = parts[1::3], parts[2::3]
        one_port = len(set(ports)) == 1 and b"connect_port" not in text
        shape = (*parts[::3], bytes(b":" in head for head in heads), *(() if one_port else ports))
        maker = self._makers.get(shape)
        if maker is None:
            return self._first(chunk, text, shape, one_port)
        addresses = _addresses(heads)
        port = int(ports[0])
        if addresses is None or port > 65535:
            return self._read(chunk)
        return [maker(addresses, port, chunk.file, chunk.number)]

    def _first(self, chunk: Chunk, text: bytes, shape: object, one_port: bool) -> list[VirtualServer]:
        said = self._findings.said
        servers = self._read(chunk)
        if hash(shape) not in self._once:
            self._once.add(hash(shape))
            return servers
        known = shape in self._makers or len(self._makers) >= MAX_SHAPES
        if len(servers) == 1 and self._findings.said == said and not known:
            self._makers[shape] = _maker(servers[0], chunk, text, one_port)
        return servers


def _addresses(texts: list[bytes]) -> list[Address] | None:
    """None: one of them is no address, or stands there twice."""
    if len(set(texts)) < len(texts):
        return None
    try:
        if any(b":" in text for text in texts):
            return [ipaddress.ip_address(text.decode()) for text in texts]
        octets = bytes(map(int, b".".join(texts).split(b".")))
        return list(map(ipaddress.IPv4Address, struct.unpack(f"!{len(texts)}I", octets)))
    except ValueError:
        return None


def _maker(server: VirtualServer, chunk: Chunk, text: bytes, one_port: bool) -> Maker | None:
    heads = list(_HEADS.finditer(text))
    addresses = _addresses([head[1] for head in heads])
    if addresses is None or not 1 <= len(heads) <= MAX_HEADS:
        return None
    owners = [server.service, *(member.server for member in server.members), server.sorry_server]
    keys = [owner.key.address for owner in owners if owner is not None]
    if set(keys) != set(addresses):
        return None
    columns: dict[int, int] = {}
    for head in heads:
        columns.setdefault(
            text.count(b"\n", 0, head.start()), head.start() - text.rfind(b"\n", 0, head.start())
        )
    index = {address: number for number, address in enumerate(addresses)}
    compiler = _Compiler(
        {id(key): index[key] for key in keys if key is not None},
        server.service.key.port if one_port else -1,
        chunk,
        columns,
    )
    return compiler.maker(server)


class _VariesOtherwiseError(Exception):
    """Something in a model depends on the addresses, and not in a way that is known here."""


class _Compiler(NamedTuple):
    """Turns a model into an expression that makes it again, with other addresses in the same places."""

    addresses: dict[int, int]
    """Index of the addresses that change, by the identity of the object in the model."""
    port: int
    """The port that changes; -1: none does."""
    chunk: Chunk
    columns: dict[int, int]
    """By index of a line of the chunk: the column in which what changes begins."""

    def maker(self, server: VirtualServer) -> Maker | None:
        constants: dict[str, object] = {"R": msgspec.structs.replace, "L": Location}
        try:
            source = self._varying(server, constants)
        except _VariesOtherwiseError:
            return None
        made: Maker = eval(f"lambda a, p, f, n: {source}", constants)
        return made

    def _varying(self, value: object, constants: dict[str, object]) -> str:
        """The expression for a value; empty: it is always the same."""
        if id(value) in self.addresses:
            return f"a[{self.addresses[id(value)]}]"
        if isinstance(value, Location):
            return self._location(value)
        if isinstance(value, msgspec.Struct):
            fields = {name: self._field(value, name, constants) for name in value.__struct_fields__}
            varying = ", ".join(f"{name}={source}" for name, source in fields.items() if source)
            return f"R({_constant(value, constants)}, {varying})" if varying else ""
        if isinstance(value, tuple):
            sources = [self._varying(each, constants) for each in value]
            if any(sources):
                each = [s or _constant(v, constants) for s, v in zip(sources, value, strict=True)]
                return f"({', '.join(each)},)"
        elif isinstance(value, list | dict | set | frozenset) and any(
            not isinstance(each, str | int) for each in value
        ):
            raise _VariesOtherwiseError
        return ""

    def _field(self, owner: msgspec.Struct, name: str, constants: dict[str, object]) -> str:
        value = getattr(owner, name)
        names = ("connect_port",) if isinstance(owner, NetworkCheck) else ("port",)
        if name in names and isinstance(owner, _PORTS) and value == self.port:
            return "p"
        return self._varying(value, constants)

    def _location(self, place: Location) -> str:
        line = place.line - self.chunk.number
        if place.file != self.chunk.file or not 0 <= line <= self.chunk.text.count(b"\n"):
            return ""
        if place.column > self.columns.get(line, place.column):
            raise _VariesOtherwiseError
        return f"L(f, n + {line}, {place.column})"


_PORTS = (ServiceKey, ServerKey, NetworkCheck)
"""Types with a port that is the service's, as long as no connect_port is written."""


def _constant(value: object, constants: dict[str, object]) -> str:
    name = f"c{len(constants)}"
    constants[name] = value
    return name
