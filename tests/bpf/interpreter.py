# SPDX-License-Identifier: Apache-2.0
"""Goes a packet's way through the object's own instructions, and tells what it met on it.

Enough of BPF (Documentation/bpf/standardization/instruction-set.rst) for the way of an established
connection, no more: it raises AssertionError at a call of another function, at any helper but a look-up,
and at what it does not know.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

Memory = bytearray | memoryview

LOOKUP = 1
STACK, CONTEXT, PACKET, MAPS = 1 << 40, 2 << 40, 1 << 20, 3 << 40
"""Made-up addresses of the memory areas; the packet's must fit 32 bits."""
STEP = 1 << 32
MOST = 10_000
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: operator.lshift,
    0x70: operator.rshift,
    0xA0: operator.xor,
    0xB0: lambda _, value: value,
}
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x00: lambda *_: True,
    0x10: operator.eq,
    0x20: operator.gt,
    0x30: operator.ge,
    0x40: lambda a, b: bool(a & b),
    0x50: operator.ne,
    0x60: operator.gt,
    0x70: operator.ge,
    0xA0: operator.lt,
    0xB0: operator.le,
    0xC0: operator.lt,
    0xD0: operator.le,
}
_SIGNED = (0x60, 0x70, 0xC0, 0xD0)


class Section(NamedTuple):
    name: str
    kind: int
    offset: int
    size: int
    link: int
    info: int


class Elf:
    """Sections and symbols of a relocatable object (ELF-64, little-endian)."""

    def __init__(self, path: Path) -> None:
        self.data = data = path.read_bytes()
        (start,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        raw = [struct.unpack_from("<IIQQQQII", data, start + size * number) for number in range(count)]
        strings = raw[names][4]
        self.sections = [Section(self._text(strings + r[0]), r[1], *r[4:]) for r in raw]
        table = next(section for section in self.sections if section.kind == 2)
        strings = self.sections[table.link].offset
        self.symbols: list[tuple[str, int, int]] = []
        for place in range(table.offset, table.offset + table.size, 24):
            name, _info, _other, section, value = struct.unpack_from("<IBBHQ", data, place)
            named = self._text(strings + name) or (self.sections[section].name if section < count else "")
            self.symbols.append((named, section, value))

    def _text(self, place: int) -> str:
        return self.data[place : self.data.index(0, place)].decode()

    def section(self, name: str) -> Section:
        return next(section for section in self.sections if section.name == name)

    def content(self, name: str) -> bytearray:
        section = self.section(name)
        return bytearray(self.data[section.offset : section.offset + section.size])

    def relocations(self, name: str) -> dict[int, tuple[str, int, int]]:
        """Symbol, section and value by the offset of the instruction."""
        section = self.section(".rel" + name)
        places = range(section.offset, section.offset + section.size, 16)
        found = (struct.unpack_from("<QQ", self.data, place) for place in places)
        return {offset: self.symbols[info >> 32] for offset, info in found}


class Way(NamedTuple):
    """The result of a run with one packet."""

    verdict: int
    packet: bytes
    instructions: int
    asked: tuple[str, ...]
    """The maps in which it looked something up, in order."""


class Interpreter:
    """One program over tables: a map's memory and the size of its elements by name. They are written to."""

    def __init__(self, path: Path, program: str, tables: Mapping[str, tuple[Memory, int]]) -> None:
        self._elf = Elf(path)
        self._code = bytes(self._elf.content(program))
        self._relocations = self._elf.relocations(program)
        self._tables = dict(tables)
        self._memory: dict[int, Memory] = {}
        self._places: dict[str, int] = {}

    def _place(self, name: str) -> int:
        """The address of a map or a section of data."""
        if name not in self._places:
            self._places[name] = MAPS + STEP * len(self._places)
            content = self._tables[name][0] if name in self._tables else self._elf.content(name)
            self._memory[self._places[name]] = content
        return self._places[name]

    def _at(self, address: int) -> tuple[Memory, int]:
        base = PACKET if address < STEP else address & -STEP
        assert base in self._memory, f"no memory at {address:#x}"
        return self._memory[base], address - base

    def _read(self, address: int, size: int) -> int:
        memory, offset = self._at(address)
        assert 0 <= offset <= len(memory) - size
        return int.from_bytes(bytes(memory[offset : offset + size]), "little")

    def _write(self, address: int, size: int, value: int) -> None:
        memory, offset = self._at(address)
        assert 0 <= offset <= len(memory) - size
        memory[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def run(self, frame: bytes, ingress: int) -> Way:
        """Raises AssertionError where the way leads to a call that costs."""
        packet = bytearray(frame)
        asked: list[str] = []
        context = struct.pack("<IIIIII", PACKET, PACKET + len(frame), 0, ingress, 0, 0)
        self._memory |= {PACKET: packet, STACK: bytearray(512), CONTEXT: bytearray(context)}
        registers = [0] * 10 + [STACK + 512]
        registers[1], at = CONTEXT, 0
        for steps in range(1, MOST):
            code, both, offset, constant = struct.unpack_from("<BBhi", self._code, at * 8)
            to, source = both & 15, both >> 4
            group, place, at = code & 7, at, at + 1
            if code == 0x18:
                registers[to], at = self._constant(place, constant), at + 1
            elif code == 0x95:
                return Way(registers[0] & 0xFFFFFFFF, bytes(packet), steps, tuple(asked))
            elif code == 0x85:
                assert source == 0 and constant == LOOKUP, f"call {constant} at {place}"
                name = next(key for key, value in self._places.items() if value == registers[1])
                asked.append(name)
                registers[0] = self._look_up(name, self._read(registers[2], 4))
            elif group == 1:
                registers[to] = self._read(registers[source] + offset, _SIZES[code & 0x18])
            elif group in (2, 3):
                assert code & 0xE0 == 0x60, f"atomic operation at {place}"
                value = constant if group == 2 else registers[source]
                self._write(registers[to] + offset, _SIZES[code & 0x18], value)
            else:
                mask = (1 << (64 if group in (5, 7) else 32)) - 1
                left, right = registers[to] & mask, (registers[source] if code & 8 else constant) & mask
                if group in (5, 6):
                    if code & 0xF0 in _SIGNED:
                        half = mask // 2 + 1
                        left, right = (left ^ half) - half, (right ^ half) - half
                    at += offset if _JUMPS[code & 0xF0](left, right) else 0
                elif code == 0xDC:
                    length = constant // 8
                    registers[to] = int.from_bytes((left & (1 << constant) - 1).to_bytes(length, "little"))
                else:
                    shifts = code & 0xF0 in (0x60, 0x70)
                    right &= mask.bit_length() - 1 if shifts else mask
                    registers[to] = _ALU[code & 0xF0](left, right) & mask
        raise AssertionError("an endless way")

    def _constant(self, place: int, low: int) -> int:
        named = self._relocations.get(place * 8)
        if not named:
            high: int = struct.unpack_from("<I", self._code, place * 8 + 12)[0]
            return (low & 0xFFFFFFFF) | high << 32
        symbol, section, value = named
        holder = self._elf.sections[section].name.removeprefix(".data.")
        return self._place(symbol) if holder == ".maps" else self._place(holder) + value + low

    def _look_up(self, name: str, index: int) -> int:
        memory, size = self._tables[name]
        return self._place(name) + index * size if index < len(memory) // size else 0
