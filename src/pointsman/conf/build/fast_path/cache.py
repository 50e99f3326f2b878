"""Thousands of virtual servers, most of them alike: from the third of a shape on they are made, not read.

The first blocks of a shape (`build_parts`) are read like any other. When nothing was to be said about them,
the block is read twice more with marks in the places where others differ, and where the marks come out in the
model shows what goes where: functions are compiled (`build_makers`) which give the same model for other
values and another place. A law holds both to be equal (tests/property/test_conf_shapes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pointsman.conf.build.fast_path.compile import (
    MemberMaker,
    Place,
    ServerMaker,
    Values,
    member_maker,
    server_maker,
)
from pointsman.conf.build.fast_path.split import MAX_REMEMBERED, Cuts, Parts, addresses, filled, split
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.source import Chunk, bare
from pointsman.model.address import Address
from pointsman.model.health import VirtualServer

MAX_SHAPES = 2000
"""Shapes kept; a configuration with more has few blocks that are alike."""

MAX_LEARNED = 40
"""Real servers, and values, of a block that shapes are learned from."""


class _Known(NamedTuple):
    """What is known of the block of a real server."""

    maker: MemberMaker
    values: Values


class _Shape:
    """Virtual servers with the same text of their own."""

    def __init__(self, maker: ServerMaker | None) -> None:
        self.maker = maker
        """None: they have to be read."""
        self.members: dict[bytes, MemberMaker | None] = {}
        """By the shapes of real servers."""
        self.known: dict[bytes, _Known] = {}
        """By the blocks of real servers."""


class Shapes:
    """Makes virtual servers of chunks; `read` is the long way to do so."""

    def __init__(self, read: Callable[[Chunk, Findings], list[VirtualServer]], findings: Findings) -> None:
        self._read = read
        self._findings = findings
        self._shapes: dict[bytes, _Shape] = {}
        self._learned = 0
        self._cuts = Cuts()
        self._room = MAX_REMEMBERED
        self._once: set[int] = set()
        """Hashes of shapes that were seen once: most of them may be the only one of their kind."""

    def virtual_servers(self, chunk: Chunk) -> list[VirtualServer]:
        """What this block stands for: one virtual server as a rule, none when it cannot be read."""
        text = chunk.text
        parts = None if chunk.odd or b"\\" in text else Parts.of(bare(text), self._cuts)
        found = addresses(parts.heads) if parts else None
        if parts is None or found is None:
            return self._read(chunk, self._findings)
        if found[0].version == 6:
            parts.shape += b"\0IPv6"
        shape = self._shapes.get(parts.shape)
        made = self._made(chunk, parts, found, shape) if shape else None
        return [made] if made else self._taught(chunk, parts, found)

    def _made(self, chunk: Chunk, parts: Parts, found: list[Address], shape: _Shape) -> VirtualServer | None:
        """The virtual server, when enough is known."""
        if shape.maker is None:
            return None
        first, port, values, file, sorry = found[0], parts.port, parts.values, chunk.file, None
        line = chunk.number + parts.first.count(b"\n")
        members = []
        for piece, address in zip(parts.pieces, found[1:], strict=True):
            if piece.block:
                known = shape.known.get(piece.block) or self._known(shape, piece.block)
                if known is None:
                    return None
                members.append(known.maker(first, address, port, values, known.values, file, line))
            else:
                sorry = address
            line += piece.lines + piece.lines_of_rest
        return shape.maker(first, sorry, port, values, file, chunk.number, tuple(members))

    def _known(self, shape: _Shape, block: bytes) -> _Known | None:
        text, values = split(block)
        maker = shape.members.get(text)
        if maker is None:
            return None
        known = _Known(maker, values)
        if self._room > len(block):
            self._room -= len(block)
            shape.known[block] = known
        return known

    def _taught(self, chunk: Chunk, parts: Parts, found: list[Address]) -> list[VirtualServer]:
        """The virtual servers read; others of their shape may be made from now on."""
        said = self._findings.said
        servers = self._read(chunk, self._findings)
        if len(servers) == 1 and self._findings.said == said and len(parts.pieces) <= MAX_LEARNED:
            inside = [split(block)[1] for block in _blocks(parts)]
            self._learn(chunk, parts, _Example(servers[0], found, parts.port, parts.values, inside))
        return servers

    def _learn(self, chunk: Chunk, parts: Parts, read: _Example) -> None:
        """Compile functions for what has been seen before."""
        shape = self._shapes.get(parts.shape)
        texts = [split(block)[0] for block in _blocks(parts)]
        old = shape.members if shape else {}
        new = {
            text: index
            for index, text in enumerate(texts)
            if text not in old and self._seen(parts.shape + b"\0" + text)
        }
        ready = self._seen(parts.shape) if shape is None else bool(new and shape.maker)
        if not ready or self._learned >= MAX_SHAPES:
            return
        lesson = _Lesson.of(chunk, parts, read, self._read)
        if shape is None:
            shape = self._shapes[parts.shape] = _Shape(lesson.server_maker() if lesson else None)
        for text, index in new.items():
            shape.members[text] = lesson.member_maker(index) if lesson else None
        self._learned += 1 + len(new)

    def _seen(self, text: bytes) -> bool:
        """Whether this is not the first time."""
        number = hash(text)
        seen = number in self._once
        self._once.add(number)
        return seen


class _Example(NamedTuple):
    """A virtual server that was read, and what stood in its text."""

    server: VirtualServer
    addresses: Sequence[Address]
    port: int
    values: Values
    inside: Sequence[Values]
    """Of real servers."""


class _Lesson(NamedTuple):
    """A block, and what becomes of it with other values."""

    teacher: _Example
    """What functions are compiled from."""
    tests: tuple[_Example, ...]
    """What they have to give, too."""
    places: list[Place]
    """Of the virtual server, and of its real servers."""
    order: list[int]
    """Indexes of the addresses of real servers."""
    sorry: int
    """Index of the sorry server's address; 0: there is none."""

    @classmethod
    def of(
        cls,
        chunk: Chunk,
        parts: Parts,
        read: _Example,
        reader: Callable[[Chunk, Findings], list[VirtualServer]],
    ) -> _Lesson | None:
        """None: the values matter in another way, too."""
        order = [index for index, piece in enumerate(parts.pieces, 1) if piece.block]
        others = [_tried(chunk, parts, read, mark, reader) for mark in _MARKS]
        first, second = others
        if first is None or second is None or len(order) != len(read.server.members):
            return None
        sorry = next((index for index, piece in enumerate(parts.pieces, 1) if not piece.block), 0)
        return cls(first, (second, read), _places(chunk, parts), order, sorry)

    def server_maker(self) -> ServerMaker | None:
        """The function for the virtual server without its real servers; None: it does not give the tests."""
        place, teacher = self.places[0], self.teacher
        sorry = teacher.addresses[self.sorry] if self.sorry else None
        maker = server_maker(teacher.server, teacher.addresses[0], sorry, teacher.port, teacher.values, place)
        if maker is None:
            return None
        for test in self.tests:
            sorry = test.addresses[self.sorry] if self.sorry else None
            where = (test.values, place.file, place.first)
            if maker(test.addresses[0], sorry, test.port, *where, test.server.members) != test.server:
                return None
        return maker

    def member_maker(self, index: int) -> MemberMaker | None:
        """The function for a real server."""
        place, number = self.places[index + 1], self.order[index]

        def arguments(example: _Example) -> tuple[Address, Address, int, Values, Values]:
            own = example.addresses[number]
            return example.addresses[0], own, example.port, example.values, example.inside[index]

        maker = member_maker(self.teacher.server.members[index], *arguments(self.teacher), place)
        for test in self.tests:
            made = maker(*arguments(test), place.file, place.first) if maker else None
            if made != test.server.members[index]:
                return None
        return maker


class _Mark(NamedTuple):
    """What is put into a text, to be found in the model: like nothing else there."""

    address: str
    address6: str
    port: int
    number: int
    path: str
    digest: str
    name: str

    def addresses(self, count: int, ipv6: bool) -> list[bytes]:
        return [(self.address6 if ipv6 else self.address).encode() % index for index in range(1, count + 1)]

    def value(self, old: bytes, index: int) -> bytes:
        """Of the kind of the old one."""
        if old.startswith(b"/"):
            return self.path.encode() % index
        if len(old) == 32:
            return self.digest.encode() % index
        return b"%d" % (self.number + index) if old.isdigit() else self.name.encode() % index


_MARKS = (
    _Mark("198.51.100.%d", "2001:db8:1:2:3::%x", 61001, 7000, "/alpha/%d", "a%031x", "alpha%d.example"),
    _Mark("10.0.0.%d", "fd00::%x", 1009, 200, "/b%d", "b%031x", "b%d"),
)
"""Of different length, so that nothing can depend on that unnoticed."""


def _tried(
    chunk: Chunk,
    parts: Parts,
    read: _Example,
    mark: _Mark,
    reader: Callable[[Chunk, Findings], list[VirtualServer]],
) -> _Example | None:
    """The block read with other values; None: something is to be said about it then."""
    heads = mark.addresses(len(parts.heads), read.addresses[0].version == 6)
    found = addresses(heads)
    numbers = iter(range(MAX_LEARNED * 2))
    values = [mark.value(old, next(numbers)) for old in read.values]
    inside = [[mark.value(old, next(numbers)) for old in each] for each in read.inside]
    filling = iter(inside)
    blocks = [filled(piece.block, next(filling)) if piece.block else b"" for piece in parts.pieces]
    data = parts.text(heads, mark.port, values, blocks)
    findings = Findings({})
    servers = reader(Chunk(chunk.file, chunk.number, data, 0, len(data)), findings)
    if found is None or findings.said or len(servers) != 1:
        return None
    return _Example(servers[0], found, mark.port, values, inside)


def _places(chunk: Chunk, parts: Parts) -> list[Place]:
    line = chunk.number
    places = [Place(chunk.file, line, line)]
    line += parts.first.count(b"\n")
    for piece in parts.pieces:
        if piece.block:
            places.append(Place(chunk.file, line, line + piece.lines))
        line += piece.lines + piece.lines_of_rest
    return places


def _blocks(parts: Parts) -> list[bytes]:
    return [piece.block for piece in parts.pieces if piece.block]
