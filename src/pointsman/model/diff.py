"""What differs between two configurations, in words: what of a reload's plan is no table operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from pointsman.model.config import Config
from pointsman.model.location import Location
from pointsman.model.service import ServerKey, ServiceKey

_SECRET = frozenset({"authentication", "hmac", "password"})
"""Fields whose values are not shown."""
_ELSEWHERE = frozenset({"virtual_servers", "location"})
"""Fields that are compared piece by piece."""


def same(one: object, other: object) -> bool:
    """Equal but for the places in the files they come from."""
    return one == other or without_places(one) == without_places(other)


def without_places(value: object) -> object:
    """The value as built-in types, locations left out."""
    if isinstance(value, Location):
        return None
    if isinstance(value, msgspec.Struct):
        fields = {name: without_places(getattr(value, name)) for name in value.__struct_fields__}
        return type(value).__name__, fields
    if isinstance(value, tuple):
        return tuple(without_places(each) for each in value)
    return value


def changes(old: Config, new: Config) -> list[str]:
    """Every difference but those of services and real servers, a line each; empty: nothing differs."""
    return [*_parts(old, new), *_checks(old, new)]


def _parts(old: Config, new: Config) -> Iterator[str]:
    for name in old.__struct_fields__:
        if name in _ELSEWHERE:
            continue
        before, after = getattr(old, name), getattr(new, name)
        if _named(before) is not None or _named(after) is not None:
            yield from _collection(name, _named(before) or {}, _named(after) or {})
        elif isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from (f"change {name}: {each}" for each in _fields(before, after))
        elif not same(before, after):
            yield f"change {name}: {_text(before)} -> {_text(after)}"


def _named(value: object) -> Mapping[str, msgspec.Struct] | None:
    """The members of a collection of named things by name; None for anything else, and for an empty one."""
    if not isinstance(value, tuple) or not value or not all(hasattr(each, "name") for each in value):
        return None
    return {each.name: each for each in value}


def _collection(
    field: str, before: Mapping[str, msgspec.Struct], after: Mapping[str, msgspec.Struct]
) -> Iterator[str]:
    kind = field.removesuffix("s").replace("_", " ")
    yield from (f"remove {kind} {name}" for name in before if name not in after)
    for name, item in after.items():
        if name not in before:
            yield f"add {kind} {name}"
        elif not same(before[name], item):
            details = "; ".join(_fields(before[name], item))
            yield f"change {kind} {name} in place: {details}"


def _fields(before: msgspec.Struct, after: msgspec.Struct) -> Iterator[str]:
    if type(before) is not type(after):
        yield f"{_text(before)} -> {_text(after)}"
        return
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if name == "location" or same(old, new):
            continue
        if name in _SECRET:
            yield f"{name} changed"
        elif isinstance(old, tuple) and isinstance(new, tuple):
            gone = [f"- {_text(each)}" for each in old if not any(same(each, other) for other in new)]
            come = [f"+ {_text(each)}" for each in new if not any(same(each, other) for other in old)]
            yield f"{name} {', '.join([*gone, *come]) or 'in another order'}"
        else:
            yield f"{name} {_text(old)} -> {_text(new)}"


def _text(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        for name in ("name", "address", "key"):
            if hasattr(value, name):
                return str(getattr(value, name))
        return type(value).__name__
    if isinstance(value, float):
        return f"{value:g}"
    return str(getattr(value, "value", value)) or "nothing"


def _checks(old: Config, new: Config) -> Iterator[str]:
    before, after = _checks_by_server(old), _checks_by_server(new)
    for place, checks in after.items():
        old_checks = before.get(place, ())
        kept = sum(any(same(check, other) for other in old_checks) for check in checks)
        if kept < len(checks):
            yield f"check {place[1]} of {place[0]}: {len(checks) - kept} new or changed, {kept} go on"
    for place, checks in before.items():
        if checks and not after.get(place):
            yield f"no more checks of {place[1]} of {place[0]}"


def _checks_by_server(config: Config) -> dict[tuple[ServiceKey, ServerKey], tuple[msgspec.Struct, ...]]:
    return {
        (virtual.service.key, member.server.key): member.checks
        for virtual in config.virtual_servers
        for member in virtual.members
    }
