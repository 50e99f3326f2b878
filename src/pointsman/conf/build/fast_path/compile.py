"""Functions that make a model again with other values in it, compiled from a model.

The values stand in the model that a function is compiled from: they were put into the text in the places
where texts of one shape differ, are like no others there, and so show where they go. Whether nothing else
depends on them is for the caller to find out, with a second set of values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import msgspec

from pointsman.model.address import Address
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.location import Location

Values = Sequence[bytes]
"""What stands in the places where texts of one shape differ, but for addresses and the port."""

MemberMaker = Callable[[Address, Address, int, Values, Values, str, int], PoolMember]
"""Address of the service, own address, port, values of the service's text and of the own one, file, line."""

ServerMaker = Callable[
    [Address, Address | None, int, Values, str, int, tuple[PoolMember, ...]], VirtualServer
]
"""Address, that of the sorry server, port, values, file, line, real servers."""


class Place(NamedTuple):
    """Which lines of a file a block takes."""

    file: str
    first: int
    last: int


class _UnknownDependencyError(Exception):
    """Something in a model depends on its text in a way that is not known here."""


def compile_server_maker(
    server: VirtualServer, address: Address, sorry: Address | None, port: int, values: Values, place: Place
) -> ServerMaker | None:
    """The function for virtual servers like this one, or None."""
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
    """The function for real servers like this one, or None; `inside` are the values of its own text."""
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
    """A value that is equal to no value of another type."""
    return type(value), value


def _expressions(values: Values, name: str) -> dict[_Kind, str]:
    """What each value can become in the model, and the expression that makes it."""
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
    """Turns a model into an expression that makes it again."""

    names: dict[_Kind, str]
    place: Place
    members: int = 0
    """Identity of the real servers, which are made elsewhere."""

    def function(self, arguments: str, model: msgspec.Struct) -> object:
        constants: dict[str, object] = {"R": msgspec.structs.replace, "L": Location}
        try:
            source = self._varying(model, constants)
        except _UnknownDependencyError:
            return None
        return eval(f"lambda {arguments}: {source}", constants)

    def _varying(self, value: object, constants: dict[str, object]) -> str:
        """The expression for a value; empty: it is always the same."""
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
