# SPDX-License-Identifier: Apache-2.0
"""Read the matches of nftables rules from the JSON of nft. Pure.

An expression that is not understood becomes a match that is unknown, so that no verdict is built on it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.doctor.firewall.chain import Interval, Match, Value
from pointsman.doctor.firewall.icmp import ICMP_CODES, ICMP_TYPES
from pointsman.doctor.firewall.packet import ACK, NOT_UNDERSTOOD, SYN
from pointsman.model.address import Network

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58,
    "vrrp": 112, "carp": 112, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""Numbers of the names in /etc/protocols that firewalls use."""
TCP_FLAGS = {"fin": 1, "syn": SYN, "rst": 4, "psh": 8, "ack": ACK, "urg": 0x20, "ecn": 0x40, "cwr": 0x80}
WHOLE_MARK = 0xFFFFFFFF
UNKNOWN = Match()
"""A match that is not understood."""
OF_CLIENTS = Match(fields=("client",), alternatives=(("",),))
"""A match that depends on the client and what it did before: a limit, the route back to it."""
_META = {
    "iif": "iif", "iifname": "iif", "oif": "oif", "oifname": "oif", "l4proto": "protocol", "pkttype": "cast",
    "nfproto": "version", "protocol": "version", "mark": "mark",
}  # fmt: skip
_VERSIONS = {"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6}
_WITH_PORTS: Mapping[str, tuple[int, ...]] = {
    "tcp": (6,), "udp": (17,), "th": (), "sctp": (132,), "udplite": (136,),
}  # fmt: skip

Key = tuple[str, str, str]
"""Family, table and name."""


class _Field(msgspec.Struct, frozen=True):
    """The left side of a match, as a field of the packet."""

    name: str
    version: int = 0
    protocols: tuple[int, ...] = ()
    mask: int = WHOLE_MARK


_PAYLOAD = {
    ("ip", "saddr"): _Field("saddr", 4),
    ("ip", "daddr"): _Field("daddr", 4),
    ("ip", "protocol"): _Field("protocol", 4),
    ("ip6", "saddr"): _Field("saddr", 6),
    ("ip6", "daddr"): _Field("daddr", 6),
    ("ip6", "nexthdr"): _Field("protocol", 6),
    ("arp", "daddr ip"): _Field("daddr"),
    ("arp", "saddr ip"): _Field("saddr"),
    ("icmp", "type"): _Field("icmp type", 4, (1,)),
    ("icmp", "code"): _Field("icmp code", 4, (1,)),
    ("icmpv6", "type"): _Field("icmp type", 6, (58,)),
    ("icmpv6", "code"): _Field("icmp code", 6, (58,)),
    ("tcp", "flags"): _Field("any flag", 0, (6,)),
    **{
        (name, field): _Field(field, 0, numbers)
        for name, numbers in _WITH_PORTS.items()
        for field in ("sport", "dport")
    },
}


class Sets:
    """Named sets and maps of a ruleset, with their elements."""

    def __init__(self, items: Iterable[Mapping[str, Any]]) -> None:
        self._elements: dict[Key, list[Any]] = {}
        for item in items:
            for kind in ("set", "map"):
                if isinstance(found := item.get(kind), dict):
                    self._elements[key_of(found, "name")] = list(found.get("elem", []))

    def elements(self, rule: Mapping[str, Any], right: Any) -> list[Any] | None:
        """Return the alternatives of a match's right side. None: a set that is not listed."""
        if isinstance(right, str) and right.startswith("@"):
            return self._elements.get((str(rule.get("family")), str(rule.get("table")), right[1:]))
        if isinstance(right, dict) and isinstance(right.get("set"), list | str):
            inner = right["set"]
            return list(inner) if isinstance(inner, list) else self.elements(rule, inner)
        return [right]


def key_of(item: Mapping[str, Any], name: str) -> Key:
    """Return family, table and name of a thing in a ruleset; `name` is the key of its name."""
    return str(item.get("family")), str(item.get("table")), str(item.get(name))


def parse_match(content: Any, rule: Mapping[str, Any], sets: Sets) -> Match:
    """Return the match of a rule."""
    operator = content.get("op") if isinstance(content, dict) else None
    if operator not in ("==", "!=", "in"):
        return UNKNOWN
    left = content.get("left")
    if _is_reverse_path(left):
        return OF_CLIENTS
    values = sets.elements(rule, content.get("right"))
    if operator == "in" and values and isinstance(values[0], list):
        values = values[0]
    concatenation = left.get("concat") if isinstance(left, dict) else None
    parts = concatenation if isinstance(concatenation, list) else [left]
    known = [_field(part, operator) for part in parts]
    fields = [field for field in known if field is not None]
    if values is None or len(fields) < len(known):
        return UNKNOWN
    return Match(
        fields=tuple(field.name for field in fields),
        alternatives=tuple(row for value in values for row in _rows(fields, value)),
        negated=operator == "!=",
        version=max(field.version for field in fields),
        protocols=next((field.protocols for field in fields if field.protocols), ()),
    )


def _is_reverse_path(left: Any) -> bool:
    """True for a question about the route back to the source (rp_filter in nftables)."""
    fib = left.get("fib") if isinstance(left, dict) else None
    return isinstance(fib, dict) and fib.get("result") == "oif" and "saddr" in fib.get("flags", ())


def _field(left: Any, operator: str) -> _Field | None:
    """Return the field, or None for one that is not understood."""
    if not isinstance(left, dict) or len(left) != 1:
        return None
    ((kind, content),) = left.items()
    if kind == "&" and isinstance(content, list) and len(content) == 2:
        inner, mask = _field(content[0], "in"), _bits(content[1])
        if inner is None or mask is None or inner.name not in ("any flag", "mark"):
            return None
        name = "flags" if inner.name == "any flag" else "mark"
        return msgspec.structs.replace(inner, name=name, mask=mask)
    if not isinstance(content, dict):
        return None
    if kind == "meta" and content.get("key") in _META:
        return _Field(_META[content["key"]])
    if kind == "ct" and content.get("key") in ("state", "status"):
        return _Field(str(content["key"]))
    if kind == "fib" and content.get("result") == "type":
        sides = [side for side in ("daddr", "saddr") if side in content.get("flags", ())]
        return _Field(f"{sides[0]} type") if sides else None
    if kind == "payload":
        found = _PAYLOAD.get((str(content.get("protocol")), str(content.get("field"))))
        if found is not None and found.name == "any flag" and operator != "in":
            return msgspec.structs.replace(found, name="flags", mask=0xFF)
        return found
    return None


def _rows(fields: Sequence[_Field], value: Any) -> Iterable[tuple[Value, ...]]:
    """Return the alternatives in one element of a set: a value for each field."""
    value = _bare(value)
    concatenation = value.get("concat") if isinstance(value, dict) else None
    parts = concatenation if isinstance(concatenation, list) else [value]
    if len(parts) != len(fields):
        return [(NOT_UNDERSTOOD,) * len(fields)]
    return itertools.product(
        *(_values(field, _bare(part)) for field, part in zip(fields, parts, strict=True))
    )


def _bare(value: Any) -> Any:
    """Return an element without its timeout and counter."""
    return (
        value["elem"].get("val") if isinstance(value, dict) and isinstance(value.get("elem"), dict) else value
    )


def _values(field: _Field, value: Any) -> list[Value]:
    """Return the values of one element; one range of addresses is several networks."""
    if field.name in ("saddr", "daddr"):
        return [*parse_networks(value)] or [NOT_UNDERSTOOD]
    if field.name in ("flags", "mark", "any flag"):
        bits = _bits(value)
        return [NOT_UNDERSTOOD if bits is None else (field.mask, bits)]
    if field.name in ("sport", "dport", "protocol", "version", "icmp type", "icmp code"):
        return [_interval(field, value) or NOT_UNDERSTOOD]
    return [value if isinstance(value, str) else NOT_UNDERSTOOD]


def parse_networks(value: Any) -> list[Network]:
    """Return the networks in an address, a prefix or a range. Empty: it is none of them."""
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(value, dict) and isinstance(ends := value.get("range"), list):
            first, last = map(ipaddress.ip_address, ends)
            return list(ipaddress.summarize_address_range(first, last))
        prefix = value.get("prefix") if isinstance(value, dict) else None
        text = f"{prefix.get('addr')}/{prefix.get('len')}" if isinstance(prefix, dict) else str(value)
        return [ipaddress.ip_network(text, strict=False)]
    return []


def _interval(field: _Field, value: Any) -> Interval | None:
    ends = value.get("range") if isinstance(value, dict) else [value, value]
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    first, last = (_number(field, end) for end in ends)
    return None if first is None or last is None else (first, last)


def _number(field: _Field, value: Any) -> int | None:
    if isinstance(value, int):
        return int(value)
    names: Mapping[str, Mapping[str, int]] = {
        "protocol": PROTOCOLS,
        "version": _VERSIONS,
        "icmp type": ICMP_TYPES.get(field.version, {}),
        "icmp code": ICMP_CODES.get(field.version, {}),
    }
    return names.get(field.name, {}).get(str(value))


def _bits(value: Any) -> int | None:
    """Return a number, or the sum of flags with names."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, dict):
        value = value.get("|")
    names = value if isinstance(value, list) else [value]
    if all(isinstance(name, str) and name in TCP_FLAGS for name in names):
        return sum(TCP_FLAGS[name] for name in names)
    return None
