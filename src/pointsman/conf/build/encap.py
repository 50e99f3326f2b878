# SPDX-License-Identifier: Apache-2.0
"""Build `encap` of a route or a next hop: those of ip-route(8) that keepalived reads, and seg6."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from pointsman.conf.build.iproute_words import Words, parse_number
from pointsman.conf.keywords.values import BadValueError
from pointsman.model.address import Address
from pointsman.model.routing import SEGMENT_MODES, Encapsulation

_MOST_LABELS = 16
_MOST_SEGMENTS = 16


def build_encapsulation(words: Words) -> Encapsulation:
    """Read the words after `encap`. Raises BadValueError."""
    kind = words.take()
    if kind not in _KINDS:
        raise BadValueError(f"{kind} is not {', '.join([*_KINDS][:-1])} or {[*_KINDS][-1]}", words.at - 1)
    return _KINDS[kind](words)


def _build_mpls(words: Words) -> Encapsulation:
    labels = words.take().split("/")
    if len(labels) > _MOST_LABELS:
        raise BadValueError(f"there must be at most {_MOST_LABELS} labels", words.at - 1)
    stack = tuple(parse_number(label, 0, 2**20 - 1, words.at - 1) for label in labels)
    fields: dict[str, object] = {}
    if words.peek() == "ttl":
        words.take()
        fields["ttl"] = words.number(1, 255)
    return Encapsulation(kind="mpls", labels=stack, **fields)  # type: ignore[arg-type]


def _build_tunnel(words: Words, version: int) -> Encapsulation:
    """Read the words of a tunnel, up to the first one that is not an option of it."""
    byte = _number_reader(0, 255)
    readers: dict[str, tuple[str, Callable[[Words], object]]] = {
        "id": ("identifier", _number_reader(0, 2**64 - 1)),
        "dst": ("destination", _address_reader(version)),
        "src": ("source", _address_reader(version)),
        "flags": ("flags", _number_reader(0, 0xFFFF)),
        **({"ttl": ("ttl", byte), "tos": ("tos", byte), "dsfield": ("tos", byte)} if version == 4 else {}),
        **({"hoplimit": ("ttl", byte), "tc": ("tos", byte)} if version == 6 else {}),
    }
    fields: dict[str, object] = {}
    kind = "ip" if version == 4 else "ip6"
    at = words.at - 1
    while words.peek() in readers:
        field, read = readers[words.take()]
        fields[field] = read(words)
    if "destination" not in fields and "identifier" not in fields:
        raise BadValueError(f"encap {kind} needs dst or id", at)
    return Encapsulation(kind=kind, **fields)  # type: ignore[arg-type]


def _number_reader(low: int, high: int) -> Callable[[Words], int]:
    return lambda words: words.number(low, high)


def _address_reader(version: int) -> Callable[[Words], Address]:
    def read(words: Words) -> Address:
        found = words.address()
        if found.version != version:
            raise BadValueError(f"{found} is not an IPv{version} address", words.at - 1)
        return found

    return read


def _build_seg6(words: Words) -> Encapsulation:
    mode, segments = "encap", ""
    while words.peek() in ("mode", "segs"):
        if words.take() == "mode":
            mode = words.take()
            if mode not in SEGMENT_MODES:
                raise BadValueError(f"the mode must be one of {', '.join(SEGMENT_MODES)}", words.at - 1)
        else:
            segments = words.take()
    listed = segments.split(",")
    if not segments or len(listed) > _MOST_SEGMENTS:
        raise BadValueError(f"encap seg6 needs segs with 1 to {_MOST_SEGMENTS} addresses", words.at - 1)
    try:
        found = tuple(ipaddress.IPv6Address(each) for each in listed)
    except ValueError:
        raise BadValueError("segs must be IPv6 addresses with commas between them", words.at - 1) from None
    return Encapsulation(kind="seg6", mode=mode, segments=found)


_KINDS: dict[str, Callable[[Words], Encapsulation]] = {
    "ip": lambda words: _build_tunnel(words, 4),
    "ip6": lambda words: _build_tunnel(words, 6),
    "mpls": _build_mpls,
    "seg6": _build_seg6,
}
