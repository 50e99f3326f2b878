# SPDX-License-Identifier: Apache-2.0
"""Describe the differences between two configurations, except table operations, for the plan of a reload."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from pointsman.model.config import Config
from pointsman.model.location import Location
from pointsman.model.service import ServerKey, ServiceKey

_SECRET = frozenset({"authentication", "hmac", "password"})
"""Fields whose values are not shown."""
_ELSEWHERE = frozenset({"virtual_servers", "location"})
"""Fields that are compared elsewhere."""


def is_same(one: object, other: object) -> bool:
    """True if the two are equal except for their places in configuration files."""
    return one == other or without_locations(one) == without_locations(other)


def without_locations(value: object) -> object:
    """Return the value as built-in types, without locations."""
    if isinstance(value, Location):
        return None
    if isinstance(value, msgspec.Struct):
        fields = {name: without_locations(getattr(value, name)) for name in value.__struct_fields__}
        return type(value).__name__, fields
    if isinstance(value, tuple):
        return tuple(without_locations(each) for each in value)
    return value


def describe_changes(old: Config, new: Config) -> list[str]:
    """Return every difference except services and real servers, a line each. Empty: there is none."""
    return [*_compare_parts(old, new), *_compare_checks(old, new)]


def _compare_parts(old: Config, new: Config) -> Iterator[str]:
    for name in old.__struct_fields__:
        if name in _ELSEWHERE:
            continue
        before, after = getattr(old, name), getattr(new, name)
        if _by_name(before) is not None or _by_name(after) is not None:
            yield from _compare_collection(name, _by_name(before) or {}, _by_name(after) or {})
        elif isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from (f"change {name}: {each}" for each in _compare_fields(before, after))
        elif not is_same(before, after):
            yield f"change {name}: {_text(before)} -> {_text(after)}"


def _by_name(value: object) -> Mapping[str, msgspec.Struct] | None:
    """Return the members of a collection of named objects by name. None for anything else, or if it is
    empty."""
    if not isinstance(value, tuple) or not value or not all(hasattr(each, "name") for each in value):
        return None
    return {each.name: each for each in value}


def _compare_collection(
    field: str, before: Mapping[str, msgspec.Struct], after: Mapping[str, msgspec.Struct]
) -> Iterator[str]:
    kind = field.removesuffix("s").replace("_", " ")
    yield from (f"remove {kind} {name}" for name in before if name not in after)
    for name, item in after.items():
        if name not in before:
            yield f"add {kind} {name}"
        elif not is_same(before[name], item):
            details = "; ".join(_compare_fields(before[name], item))
            yield f"change {kind} {name} in place: {details}"


def _compare_fields(before: msgspec.Struct, after: msgspec.Struct) -> Iterator[str]:
    if type(before) is not type(after):
        yield f"{_text(before)} -> {_text(after)}"
        return
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if name == "location" or is_same(old, new):
            continue
        if name in _SECRET:
            yield f"{name} changed"
        elif isinstance(old, tuple) and isinstance(new, tuple):
            yield f"{name} {', '.join(_compare_members(old, new)) or 'has another order'}"
        else:
            yield f"{name} {_text(old)} -> {_text(new)}"


def _compare_members(old: tuple[object, ...], new: tuple[object, ...]) -> Iterator[str]:
    """Return what is gone and what has come. One that is both is shown with what of it has changed."""
    gone = [each for each in old if not any(is_same(each, other) for other in new)]
    come = [each for each in new if not any(is_same(each, other) for other in old)]
    before, after = _by_text(gone), _by_text(come)
    changed = [text for text in before if text in after]
    yield from (f"- {_text(each)}" for each in gone if _text(each) not in changed)
    yield from (f"+ {_text(each)}" for each in come if _text(each) not in changed)
    yield from (f"{text} ({'; '.join(_compare_fields(before[text], after[text]))})" for text in changed)


def _by_text(members: list[object]) -> dict[str, msgspec.Struct]:
    """Return the members by their text. Those that share one are left out."""
    texts = [_text(each) for each in members]
    return {
        text: each
        for text, each in zip(texts, members, strict=True)
        if isinstance(each, msgspec.Struct) and texts.count(text) == 1
    }


def _text(value: object) -> str:
    if isinstance(value, msgspec.Struct):
        for name in ("name", "address", "key"):
            if hasattr(value, name):
                return str(getattr(value, name))
        return str(value) if "__str__" in vars(type(value)) else type(value).__name__
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "nothing"
    return str(getattr(value, "value", value)) or "nothing"


def _compare_checks(old: Config, new: Config) -> Iterator[str]:
    known = {virtual.service.key: virtual for virtual in old.virtual_servers}
    same = {
        virtual.service.key
        for virtual in new.virtual_servers
        if (former := known.get(virtual.service.key)) is virtual or former == virtual
    }
    before, after = _checks_by_server(old, same), _checks_by_server(new, same)
    for place, checks in after.items():
        old_checks = before.get(place, ())
        kept = sum(any(is_same(check, other) for other in old_checks) for check in checks)
        if kept < len(checks):
            yield f"check {place[1]} of {place[0]}: {len(checks) - kept} new or changed, {kept} unchanged"
    for place, checks in before.items():
        if checks and not after.get(place):
            yield f"remove all checks of {place[1]} of {place[0]}"


def _checks_by_server(
    config: Config, same: Collection[ServiceKey]
) -> dict[tuple[ServiceKey, ServerKey], tuple[msgspec.Struct, ...]]:
    """Return the checks of every real server, except those of the services that are the same."""
    return {
        (virtual.service.key, member.server.key): member.checks
        for virtual in config.virtual_servers
        if virtual.service.key not in same
        for member in virtual.members
    }
