"""The type information of a BPF object: sizes and offsets of structs, names of enumerations.

Format: Documentation/bpf/btf.rst and the ELF specification. Only what shared structs need is read.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 1, 3, 4, 5, 6, 8, 9, 10, 11
_FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64, _POINTER = 13, 14, 15, 17, 19, 2
_TRANSPARENT = {_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, 18}


class Field(NamedTuple):
    offset: int
    size: int


class _Type(NamedTuple):
    name: str
    kind: int
    length: int
    size_or_type: int
    extra: bytes


class TypeInformation:
    """Structs and enumerations by name. Raises ValueError when the data is not BTF."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 24 or struct.unpack_from("<H", data)[0] != 0xEB9F:
            raise ValueError("not BTF")
        header, types_at, types_length, strings_at, _length = struct.unpack_from("<IIIII", data, 4)
        self._strings = data[header + strings_at :]
        self._types: list[_Type] = [_Type("void", 0, 0, 0, b"")]
        position, end = header + types_at, header + types_at + types_length
        while position < end:
            name, info, size = struct.unpack_from("<III", data, position)
            kind, length = info >> 24 & 31, info & 0xFFFF
            extra = _extra_size(kind, length)
            body = data[position + 12 : position + 12 + extra]
            self._types.append(_Type(self._string(name), kind, length, size, body))
            position += 12 + extra

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(0, offset)].decode()

    def _named(self, name: str, kind: int) -> _Type:
        for entry in self._types:
            if entry.name == name and entry.kind == kind:
                return entry
        raise ValueError(f"the object has no type {name}")

    def _size(self, number: int) -> int:
        entry = self._types[number]
        if entry.kind in _TRANSPARENT:
            return self._size(entry.size_or_type)
        if entry.kind == _POINTER:
            return 8
        if entry.kind == _ARRAY:
            element, _index, count = struct.unpack("<III", entry.extra)
            return self._size(element) * int(count)
        return entry.size_or_type

    def struct_size(self, name: str) -> int:
        return self._named(name, _STRUCT).size_or_type

    def fields(self, name: str) -> dict[str, Field]:
        """Offset and size in bytes of a struct's members."""
        entry = self._named(name, _STRUCT)
        members = struct.iter_unpack("<III", entry.extra)
        return {
            self._string(text): Field((bits & 0xFFFFFF) // 8, self._size(kind))
            for text, kind, bits in members
        }

    def maps(self) -> dict[str, dict[str, int]]:
        """What the object says of its maps: type, flags, default size, sizes of key and value."""
        variables = struct.iter_unpack("<III", self._named(".maps", _DATASEC).extra)
        return {self._types[number].name: self._map(number) for number, _offset, _size in variables}

    def _map(self, variable: int) -> dict[str, int]:
        """Types are told by a pointer to them, numbers by one to an array of that length (__uint)."""
        facts = {}
        definition = self._types[self._types[variable].size_or_type]
        for text, pointer, _bits in struct.iter_unpack("<III", definition.extra):
            name, target = self._string(text), self._types[pointer].size_or_type
            told = self._types[target]
            facts[name] = (
                self._size(target) if name in ("key", "value") else struct.unpack("<III", told.extra)[2]
            )
        return facts

    def enumeration(self, name: str) -> dict[str, int]:
        """Names and values, in the order in which they are written."""
        entry = self._named(name, _ENUM)
        return {self._string(text): value for text, value in struct.iter_unpack("<Ii", entry.extra)}


def _extra_size(kind: int, length: int) -> int:
    if kind in (_INT, _VAR, _DECL_TAG):
        return 4
    if kind in (_STRUCT, _UNION, _DATASEC, _ENUM64):
        return 12 * length
    if kind in (_ENUM, _FUNC_PROTO):
        return 8 * length
    return 12 if kind == _ARRAY else 0


def read_object(path: Path) -> TypeInformation:
    """The BTF of a 64-bit little-endian ELF file. Raises OSError, or ValueError when there is none."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is not a BPF object")
    table = struct.unpack_from("<Q", data, 40)[0]
    size, count, names = struct.unpack_from("<HHH", data, 58)
    sections = [struct.unpack_from("<IIQQQQ", data, table + size * number) for number in range(count)]
    names_at = sections[names][4]
    for name, _kind, _flags, _address, offset, length in sections:
        if data[names_at + name : names_at + name + 5] == b".BTF\x00":
            return TypeInformation(data[offset : offset + length])
    raise ValueError(f"{path} carries no BTF")
