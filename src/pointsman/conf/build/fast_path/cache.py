# SPDX-License-Identifier: Apache-2.0
"""Cache of functions that build virtual servers: from the third of a shape on, blocks are not parsed.

A shape is the text of a block without its values (`split`). The first blocks of a shape are parsed as usual.
If they have no problems, the block is parsed twice more with probe values in place of its values. The model
shows where each probe value goes. From that, functions are compiled (`compile`) that build the same model
with other values in another place. tests/property/test_conf_shapes.py proves that both give equal models.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pointsman.conf.build.fast_path.compile import (
    MemberMaker,
    Place,
    ServerMaker,
    Values,
    compile_member_maker,
    compile_server_maker,
)
from pointsman.conf.build.fast_path.split import (
    MAX_CACHED,
    SplitBlock,
    SplitCache,
    insert_values,
    parse_addresses,
    split_all,
    split_values,
)
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.source import Chunk, strip_comments
from pointsman.model.address import Address
from pointsman.model.health import VirtualServer

MAX_SHAPES = 2000
"""Limit of shapes. A configuration with more has few similar blocks."""

MAX_PORT = 65535

MAX_SAMPLE_SIZE = 40
"""Limit of real servers in a block from which functions are compiled."""


class _MemberEntry(NamedTuple):
    """The cache entry for the block of a real server."""

    maker: MemberMaker
    values: Values


class _Shape:
    """The cache entry for virtual servers whose own text has the same shape."""

    def __init__(self, maker: ServerMaker | None) -> None:
        self.maker = maker
        """None: the blocks must be parsed."""
        self.members: dict[bytes, MemberMaker | None] = {}
        """Makers by the shape of the real server. None: it must be parsed."""
        self.known: dict[bytes, _MemberEntry] = {}
        """Entries by the text of the real server's block."""


class _Whole(NamedTuple):
    """The cache entry for blocks that are alike from the first to the last line, apart from values."""

    heads: Sequence[int]
    """Indexes of the servers among the values; the first one is that of the virtual server."""
    own: Sequence[int]
    """Indexes of the virtual server's values."""
    sorry: int
    """Number of the sorry server among the servers; 0: there is none."""
    maker: ServerMaker
    members: Sequence[tuple[int, MemberMaker, int, int, int]]
    """Number, maker, first and last value, and line of each real server."""

    def make(self, chunk: Chunk, values: list[bytes]) -> VirtualServer | None:
        """Return the virtual server. None: addresses or ports are wrong, or the ports differ."""
        port = values[0].partition(b" ")[2]
        suffix, number = b" " + port, int(port)
        found = parse_addresses([values[index].removesuffix(suffix) for index in self.heads])
        if found is None or number > MAX_PORT:
            return None
        first, file, line = found[0], chunk.file, chunk.number
        own = [values[index] for index in self.own]
        members = tuple(
            [
                maker(first, found[head], number, own, values[start:stop], file, line + offset)
                for head, maker, start, stop, offset in self.members
            ]
        )
        return self.maker(first, found[self.sorry] if self.sorry else None, number, own, file, line, members)


class MakerCache:
    """Builder of virtual servers from chunks. `read` parses a chunk without the cache."""

    def __init__(self, read: Callable[[Chunk, Findings], list[VirtualServer]], findings: Findings) -> None:
        self._read = read
        self._findings = findings
        self._shapes: dict[bytes, _Shape] = {}
        self._wholes: dict[bytes, _Whole] = {}
        self._compiled_count = 0
        self._split_cache = SplitCache()
        self._free_bytes = MAX_CACHED
        self._seen_hashes: set[int] = set()
        """Hashes of the shapes seen so far. A shape that occurs once is not worth compiling."""

    def virtual_servers(self, chunk: Chunk) -> list[VirtualServer]:
        """Return the virtual servers of a block: as a rule one, none if it has errors."""
        text = chunk.text
        if chunk.altered or b"\\" in text:
            return self._read(chunk, self._findings)
        text = strip_comments(text)
        key, values = split_all(text)
        whole = self._wholes.get(key)
        made = whole.make(chunk, values) if whole else None
        return [made] if made else self._by_parts(chunk, text, key, values)

    def _by_parts(self, chunk: Chunk, text: bytes, key: bytes, values: list[bytes]) -> list[VirtualServer]:
        """Return the virtual servers of a block that is not known as a whole."""
        split = SplitBlock.parse(text, self._split_cache)
        found = parse_addresses(split.heads) if split else None
        if split is None or found is None:
            return self._read(chunk, self._findings)
        if found[0].version == 6:
            split.shape += b"\0IPv6"
        shape = self._shapes.get(split.shape)
        made = self._make(chunk, split, found, shape) if shape else None
        if made is None or shape is None:
            return self._read_and_learn(chunk, split, found)
        if len(self._wholes) < MAX_SHAPES and (whole := _whole(split, shape, values)):
            self._wholes[key] = whole
        return [made]

    def _make(
        self, chunk: Chunk, split: SplitBlock, found: list[Address], shape: _Shape
    ) -> VirtualServer | None:
        """Return the virtual server, or None if a maker is missing."""
        if shape.maker is None:
            return None
        first, port, values, file, sorry = found[0], split.port, split.values, chunk.file, None
        line = chunk.number + split.first.count(b"\n")
        members = []
        for piece, address in zip(split.pieces, found[1:], strict=True):
            if piece.block:
                known = shape.known.get(piece.block) or self._member_entry(shape, piece.block)
                if known is None:
                    return None
                members.append(known.maker(first, address, port, values, known.values, file, line))
            else:
                sorry = address
            line += piece.lines + piece.lines_of_rest
        return shape.maker(first, sorry, port, values, file, chunk.number, tuple(members))

    def _member_entry(self, shape: _Shape, block: bytes) -> _MemberEntry | None:
        text, values = split_values(block)
        maker = shape.members.get(text)
        if maker is None:
            return None
        known = _MemberEntry(maker, values)
        if self._free_bytes > len(block):
            self._free_bytes -= len(block)
            shape.known[block] = known
        return known

    def _read_and_learn(self, chunk: Chunk, split: SplitBlock, found: list[Address]) -> list[VirtualServer]:
        """Parse the block, and compile makers for its shape if possible."""
        said = self._findings.count
        servers = self._read(chunk, self._findings)
        if len(servers) == 1 and self._findings.count == said and len(split.pieces) <= MAX_SAMPLE_SIZE:
            inside = [split_values(block)[1] for block in _member_blocks(split)]
            self._learn(chunk, split, _Sample(servers[0], found, split.port, split.values, inside))
        return servers

    def _learn(self, chunk: Chunk, split: SplitBlock, read: _Sample) -> None:
        """Compile makers for the shapes that have been seen before."""
        shape = self._shapes.get(split.shape)
        texts = [split_values(block)[0] for block in _member_blocks(split)]
        old = shape.members if shape else {}
        new = {
            text: index
            for index, text in enumerate(texts)
            if text not in old and self._is_repeated(split.shape + b"\0" + text)
        }
        ready = self._is_repeated(split.shape) if shape is None else bool(new and shape.maker)
        if not ready or self._compiled_count >= MAX_SHAPES:
            return
        samples = _Samples.collect(chunk, split, read, self._read)
        if shape is None:
            shape = self._shapes[split.shape] = _Shape(samples.server_maker() if samples else None)
        for text, index in new.items():
            shape.members[text] = samples.member_maker(index) if samples else None
        self._compiled_count += 1 + len(new)

    def _is_repeated(self, text: bytes) -> bool:
        """True if the text was seen before. It counts as seen from now on."""
        number = hash(text)
        seen = number in self._seen_hashes
        self._seen_hashes.add(number)
        return seen


def _whole(split: SplitBlock, shape: _Shape, values: list[bytes]) -> _Whole | None:
    """Return the entry for a block whose parts are known. None: its values are not those of its parts."""
    assert shape.maker is not None
    expected: list[bytes] = []
    heads: list[int] = []
    own: list[int] = []
    members: list[tuple[int, MemberMaker, int, int, int]] = []
    sorry = 0

    def add(text: bytes) -> range:
        start = len(expected)
        expected.extend(split_values(text)[1])
        return range(start, len(expected))

    def add_head(address: bytes) -> None:
        heads.append(len(expected))
        expected.append(b"%b %d" % (address, split.port))

    add_head(split.heads[0])
    own += add(split.first)
    line = split.first.count(b"\n")
    for number, piece in enumerate(split.pieces, 1):
        add_head(split.heads[number])
        if piece.block:
            maker, inside = shape.members[split_values(piece.block)[0]], add(piece.block)
            assert maker is not None
            members.append((number, maker, inside.start, inside.stop, line))
        else:
            sorry = number
        own += add(piece.rest)
        line += piece.lines + piece.lines_of_rest
    if split.depends or expected != values or [values[index] for index in own] != split.values:
        return None
    return _Whole(heads, own, sorry, shape.maker, members)


class _Sample(NamedTuple):
    """A virtual server that was parsed, and the values in its text."""

    server: VirtualServer
    addresses: Sequence[Address]
    port: int
    values: Values
    member_values: Sequence[Values]
    """Values of each real server's text."""


class _Samples(NamedTuple):
    """One block parsed with three sets of values."""

    source: _Sample
    """The sample with probe values, from which makers are compiled."""
    controls: tuple[_Sample, ...]
    """Other samples, which the makers must reproduce."""
    places: list[Place]
    """Places of the virtual server and of its real servers."""
    order: list[int]
    """Index in `addresses` of each real server."""
    sorry: int
    """Index in `addresses` of the sorry server; 0: there is none."""

    @classmethod
    def collect(
        cls,
        chunk: Chunk,
        split: SplitBlock,
        read: _Sample,
        reader: Callable[[Chunk, Findings], list[VirtualServer]],
    ) -> _Samples | None:
        """Parse the block with probe values. None: with them it has problems."""
        order = [index for index, piece in enumerate(split.pieces, 1) if piece.block]
        others = [_read_probe(chunk, split, read, probe, reader) for probe in _PROBES]
        first, second = others
        if first is None or second is None or len(order) != len(read.server.members):
            return None
        sorry = next((index for index, piece in enumerate(split.pieces, 1) if not piece.block), 0)
        return cls(first, (second, read), _block_places(chunk, split), order, sorry)

    def server_maker(self) -> ServerMaker | None:
        """Compile the maker of the virtual server. None: a control sample comes out differently."""
        place, source = self.places[0], self.source
        sorry = source.addresses[self.sorry] if self.sorry else None
        maker = compile_server_maker(
            source.server, source.addresses[0], sorry, source.port, source.values, place
        )
        if maker is None:
            return None
        for control in self.controls:
            sorry = control.addresses[self.sorry] if self.sorry else None
            where = (control.values, place.file, place.first)
            if (
                maker(control.addresses[0], sorry, control.port, *where, control.server.members)
                != control.server
            ):
                return None
        return maker

    def member_maker(self, index: int) -> MemberMaker | None:
        """Compile the maker of a real server. None: a control sample comes out differently."""
        place, number = self.places[index + 1], self.order[index]

        def arguments(sample: _Sample) -> tuple[Address, Address, int, Values, Values]:
            own = sample.addresses[number]
            return sample.addresses[0], own, sample.port, sample.values, sample.member_values[index]

        maker = compile_member_maker(self.source.server.members[index], *arguments(self.source), place)
        for control in self.controls:
            made = maker(*arguments(control), place.file, place.first) if maker else None
            if made != control.server.members[index]:
                return None
        return maker


_NUMBER = re.compile(rb"[0-9]+(\.[0-9]+)?")


class _ProbeValues(NamedTuple):
    """Values to put into a text. They are unlike all else, so that they are found in the model."""

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
        """Return a value of the same kind as `old`."""
        if old.startswith(b"/"):
            return self.path.encode() % index
        if len(old) == 32:
            return self.digest.encode() % index
        return b"%d" % (self.number + index) if _NUMBER.fullmatch(old) else self.name.encode() % index


_PROBES = (
    _ProbeValues("198.51.100.%d", "2001:db8:1:2:3::%x", 61001, 700, "/alpha/%d", "a%031x", "alpha%d.example"),
    _ProbeValues("10.0.0.%d", "fd00::%x", 1009, 200, "/b%d", "b%031x", "b%d"),
)
"""They differ in length, so that a dependency on the length is noticed. Numbers fit every keyword."""

MAX_VALUES = 300
"""Limit of values in a block from which functions are compiled: its numbers are below 1000."""


def _read_probe(
    chunk: Chunk,
    split: SplitBlock,
    read: _Sample,
    probe: _ProbeValues,
    reader: Callable[[Chunk, Findings], list[VirtualServer]],
) -> _Sample | None:
    """Parse the block with probe values. None: it has problems then."""
    heads = probe.addresses(len(split.heads), read.addresses[0].version == 6)
    found = parse_addresses(heads)
    if len(read.values) + sum(map(len, read.member_values)) > MAX_VALUES:
        return None
    numbers = itertools.count()
    values = [probe.value(old, next(numbers)) for old in read.values]
    inside = [[probe.value(old, next(numbers)) for old in each] for each in read.member_values]
    filling = iter(inside)
    blocks = [insert_values(piece.block, next(filling)) if piece.block else b"" for piece in split.pieces]
    data = split.text(heads, probe.port, values, blocks)
    findings = Findings({})
    servers = reader(Chunk(chunk.file, chunk.number, data, 0, len(data)), findings)
    if found is None or findings.count or len(servers) != 1:
        return None
    return _Sample(servers[0], found, probe.port, values, inside)


def _block_places(chunk: Chunk, split: SplitBlock) -> list[Place]:
    line = chunk.number
    places = [Place(chunk.file, line, line)]
    line += split.first.count(b"\n")
    for piece in split.pieces:
        if piece.block:
            places.append(Place(chunk.file, line, line + piece.lines))
        line += piece.lines + piece.lines_of_rest
    return places


def _member_blocks(split: SplitBlock) -> list[bytes]:
    return [piece.block for piece in split.pieces if piece.block]
