# SPDX-License-Identifier: Apache-2.0
"""The type information (BTF) of a BPF object or of the kernel: structs, enumerations, maps.

libbpf parses it and resolves sizes; here the members that follow a type are read (linux/btf.h,
Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import ctypes
import errno
import struct
import weakref
from pathlib import Path
from typing import NamedTuple

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel.libbpf import library

_STRUCT, _ENUM, _DATASEC = 4, 6, 15
"""BTF_KIND_*."""
_MEMBER, _ENUMERATOR = struct.Struct("=III"), struct.Struct("=Ii")


class Field(NamedTuple):
    """The place of a member in its struct, in bytes."""

    offset: int
    size: int


class _Type(ctypes.Structure):
    """struct btf_type; its members, enumerators or elements follow it in memory."""

    _fields_ = (("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32))
    name: int
    info: int
    size_or_type: int

    def following(self, form: struct.Struct, count: int | None = None) -> list[tuple[int, ...]]:
        """Return the records after this one; their number is in the type unless `count` is given."""
        number = self.info & 0xFFFF if count is None else count
        place = ctypes.addressof(self) + ctypes.sizeof(_Type)
        return list(form.iter_unpack(ctypes.string_at(place, form.size * number)))


class TypeInformation:
    """Structs and enumerations by name. A missing type is a ValueError."""

    def __init__(self, path: Path) -> None:
        """Read an object file, or raw BTF such as the kernel's.

        Raises FileNotFoundError, ValueError if the file has no BTF, DataPlaneError without libbpf.
        """
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        try:
            self._btf = library().btf__parse(bytes(path), None)
        except DataPlaneError:
            raise
        except OSError as error:
            raise ValueError(f"{path} carries no BTF ({error.strerror})") from error
        weakref.finalize(self, library().btf__free, self._btf)

    def _type(self, number: int) -> _Type:
        return _Type.from_address(library().btf__type_by_id(self._btf, number))

    def _named(self, name: str, kind: int) -> _Type:
        try:
            return self._type(library().btf__find_by_name_kind(self._btf, name.encode(), kind))
        except FileNotFoundError:
            raise ValueError(f"the object has no type {name}") from None

    def _string(self, offset: int) -> str:
        return str(library().btf__name_by_offset(self._btf, offset).decode())

    def _size(self, number: int) -> int:
        return int(library().btf__resolve_size(self._btf, number))

    def struct_size(self, name: str) -> int:
        """Return the size of a struct in bytes. Raises ValueError."""
        return self._named(name, _STRUCT).size_or_type

    def fields(self, name: str) -> dict[str, Field]:
        """Return offset and size of a struct's members. Raises ValueError."""
        return {
            self._string(text): Field((bits & 0xFFFFFF) // 8, self._size(kind))
            for text, kind, bits in self._named(name, _STRUCT).following(_MEMBER)
        }

    def enumeration(self, name: str) -> dict[str, int]:
        """Return names and values, in the order of the source. Raises ValueError."""
        return {self._string(text): value for text, value in self._named(name, _ENUM).following(_ENUMERATOR)}

    def maps(self) -> dict[str, dict[str, int]]:
        """Return type, flags, default size, and sizes of key and value of every map."""
        variables = [self._type(number) for number, _, _ in self._named(".maps", _DATASEC).following(_MEMBER)]
        return {self._string(each.name): self._map(each) for each in variables}

    def _map(self, variable: _Type) -> dict[str, int]:
        """Return the facts of one map. Types are pointers; numbers are lengths of arrays (__uint)."""
        facts = {}
        for text, pointer, _bits in self._type(variable.size_or_type).following(_MEMBER):
            name, target = self._string(text), self._type(pointer).size_or_type
            if name in ("key", "value"):
                facts[name] = self._size(target)
            else:
                ((_element, _index, facts[name]),) = self._type(target).following(_MEMBER, 1)
        return facts
