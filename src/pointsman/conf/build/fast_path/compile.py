# SPDX-License-Identifier: Apache-2.0
"""Compile functions (makers) that build a model again with other values.

The model that a maker is compiled from has probe values in all places where texts of one shape differ. They
are unlike all else, so they show where each value goes. The caller must test with other values that nothing
else depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import msgspec

from pointsman.model.address import Address
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.location import Location

Values = Sequence[bytes]
"""The values of a text that are not part of its shape, without addresses and port."""

MemberMaker = Callable[[Address, Address, int, Values, Values, str, int], PoolMember]
"""Arguments: service address, own address, port, values of the service and of the own text, file, line."""

ServerMaker = Callable[
    [Address, Address | None, int, Values, str, int, tuple[PoolMember, ...]], VirtualServer
]
"""Arguments: address, address of the sorry server, port, values, file, line, real servers."""


class Place(NamedTuple):
    """The lines of a file that a block takes."""

    file: str
    first: int
    last: int


class _UnknownDependencyError(Exception):
    """A part of the model depends on the text in an unknown way."""


def compile_server_maker(
    server: VirtualServer, address: Address, sorry: Address | None, port: int, values: Values, place: Place
) -> ServerMaker | None:
    """Return the maker of virtual servers like this one, or None."""
    names = {_kind(address): "a", _kind(port): "p", **_expressions(values, "v")}
    if sorry is not None:
        names[_kind(sorry)] = "s"
    compiler = _Compiler(names, place._replace(last=place.first), id(server.members))
    return cast("ServerMaker | None", compiler.function("a, s, p, v, f, n, m", server))


def compile_member_maker(
    member: PoolMember,
    virtual: Address,
    address: Address,
    port: int,
    values: Values,
    inside: Values,
    place: Place,
) -> MemberMaker | None:
    """Return the maker of real servers like this one, or None. `inside` has the values of its text."""
    names = {
        _kind(virtual): "a",
        _kind(address): "b",
        _kind(port): "p",
        **_expressions(values, "v"),
        **_expressions(inside, "w"),
    }
    return cast("MemberMaker | None", _Compiler(names, place).function("a, b, p, v, w, f, n", member))


_Kind = tuple[type, object]


def _kind(value: object) -> _Kind:
    """Return a key that differs for equal values of different types."""
    return type(value), value


def _expressions(values: Values, name: str) -> dict[_Kind, str]:
    """Return each form that a value can take in the model, with the expression for it."""
    found: dict[_Kind, str] = {}
    for index, value in enumerate(values):
        source, text = f"{name}[{index}]", value.decode()
        found[_kind(text)] = f"{source}.decode()"
        if text.isdecimal():
            found[_kind(int(text))] = f"int({source})"
            found[_kind(float(text))] = f"float({source})"
        if text.startswith("/"):
            found[_kind(tuple(text.split()))] = f"tuple({source}.decode().split())"
    return found


class _Compiler(NamedTuple):
    """Compiler of a model to an expression that builds it again."""

    names: dict[_Kind, str]
    place: Place
    members: int = 0
    """id() of the tuple of real servers, which is an argument of the maker."""

    def function(self, arguments: str, model: msgspec.Struct) -> object:
        constants: dict[str, object] = {"R": msgspec.structs.replace, "L": Location}
        try:
            source = self._varying(model, constants)
        except _UnknownDependencyError:
            return None
        return eval(f"lambda {arguments}: {source}", constants)

    def _varying(self, value: object, constants: dict[str, object]) -> str:
        """Return the expression for a value; empty: the value is constant."""
        if isinstance(value, Location):
            return self._location(value)
        if isinstance(value, msgspec.Struct):
            fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
            sources = [(name, self._varying(each, constants)) for name, each in fields]
            varying = ", ".join(f"{name}={source}" for name, source in sources if source)
            return f"R({_constant(value, constants)}, {varying})" if varying else ""
        if isinstance(value, tuple):
            return self._tuple(value, constants)
        if isinstance(value, list | dict | set | frozenset):
            if any(not isinstance(each, str | int) for each in value):
                raise _UnknownDependencyError
            return ""
        return self.names.get(_kind(value), "")

    def _tuple(self, value: tuple[object, ...], constants: dict[str, object]) -> str:
        if id(value) == self.members:
            return "m"
        if value and isinstance(value[0], str):
            return self.names.get(_kind(value), "")
        sources = [self._varying(each, constants) for each in value]
        if not any(sources):
            return ""
        each = [s or _constant(v, constants) for s, v in zip(sources, value, strict=True)]
        return f"({', '.join(each)},)"

    def _location(self, place: Location) -> str:
        if place.file != self.place.file or not self.place.first <= place.line <= self.place.last:
            raise _UnknownDependencyError
        return f"L(f, n + {place.line - self.place.first}, {place.column})"


def _constant(value: object, constants: dict[str, object]) -> str:
    name = f"c{len(constants)}"
    constants[name] = value
    return name
