# SPDX-License-Identifier: Apache-2.0
"""Build rules from virtual_rules and static_rules: ip-rule(8) as keepalived reads it."""

from __future__ import annotations

import re
from collections.abc import Callable

from pointsman.conf.build.iproute_words import Words, parse_number, parse_realms
from pointsman.conf.build.routes import parse_protocol, parse_table
from pointsman.conf.keywords.settings import Settings
from pointsman.conf.keywords.values import BadValueError
from pointsman.conf.text.problems import Findings
from pointsman.model.address import Network
from pointsman.model.routing import VirtualRule

FIRST_PREFERENCE = 16384
"""Preference of the first rule that names none. Each further one gets one less, as in keepalived."""
_IP_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "icmpv6": 58, "ipv6-icmp": 58, "sctp": 132}
_SAME = {"lookup": "table", "order": "preference", "priority": "preference", "pref": "preference"}
_SAME |= {"dsfield": "tos", "ip_proto": "ipproto", "sup_pl": "suppress_prefixlength"}
_SAME |= {"sup_group": "suppress_ifgroup", "proto": "protocol"}


class RulePreferences:
    """Preferences for rules that name none, in the order of the file."""

    def __init__(self) -> None:
        self._next = FIRST_PREFERENCE

    def take(self) -> int:
        self._next -= 1
        return self._next + 1


def build_rules(
    block: Settings, word: str, preferences: RulePreferences, findings: Findings, static: bool = False
) -> tuple[VirtualRule, ...]:
    """Return the rules in the blocks of this keyword, in order."""
    found: list[VirtualRule] = []
    for setting in block.all(word):
        for node in setting.block:
            try:
                found.append(_build_rule([each.text for each in node.words], preferences, static))
            except BadValueError as error:
                wrong = node.words[min(error.index, len(node.words) - 1)]
                findings.error(wrong.location, f"{word} {wrong.text}: {error}", width=wrong.width)
    return tuple(found)


def _build_rule(texts: list[str], preferences: RulePreferences, static: bool) -> VirtualRule:
    """Raises BadValueError."""
    words = Words(texts)
    fields: dict[str, object] = {}
    version = 0
    while words.has_more:
        name = words.take()
        name = _SAME.get(name, name)
        if name in ("inet", "inet6"):
            version = 4 if name == "inet" else 6
        elif name in _READERS:
            fields[_FIELDS.get(name, name)] = _READERS[name](words)
        elif name == "fwmark":
            text, _, mask = words.take().partition("/")
            fields["mark"] = parse_number(text, 0, 2**32 - 1, words.at - 1)
            fields["mask"] = parse_number(mask, 0, 2**32 - 1, words.at - 1) if mask else None
        elif name == "goto":
            fields |= {"action": "goto", "target": words.number(1, 2**32 - 1)}
        elif name in ("nop", "blackhole", "unreachable", "prohibit"):
            fields["action"] = name
        elif name == "type":
            fields["action"] = _parse_action(words)
        elif name in ("not", "l3mdev"):
            fields["inverted" if name == "not" else name] = True
        elif name == "no_track" and not static:
            fields["tracked"] = False
        elif name == "track_group" and static:
            fields["track_group"] = words.take()
        else:
            raise BadValueError("is not an option of a rule", words.at - 1)
    family = _family(fields, version)
    if not any(name in fields for name in ("table", "action", "l3mdev")):
        raise BadValueError("a rule needs table, goto, nop, l3mdev, blackhole, unreachable or prohibit")
    if "preference" not in fields:
        fields["preference"] = preferences.take()
    return VirtualRule(family=family, **fields)  # type: ignore[arg-type]


def _family(fields: dict[str, object], version: int) -> int:
    families: set[int] = {
        each.version
        for each in (fields.get("source"), fields.get("destination"))
        if isinstance(each, Network)
    }
    if version:
        families.add(version)
    if len(families) > 1:
        raise BadValueError("all addresses of a rule must be of one family")
    return families.pop() if families else 4


def _parse_network(words: Words) -> Network | None:
    if words.peek() in ("all", "any", "default"):
        words.take()
        return None
    return words.network()


def _range_reader(highest: int) -> Callable[[Words], tuple[int, int]]:
    def read(words: Words) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", words.take())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= first <= last <= highest:
            raise BadValueError(f"must be a number or a range such as 10-20, up to {highest}", words.at - 1)
        return first, last

    return read


def _parse_ip_protocol(words: Words) -> int:
    text = words.take().lower()
    return _IP_PROTOCOLS[text] if text in _IP_PROTOCOLS else parse_number(text, 1, 255, words.at - 1)


def _parse_action(words: Words) -> str:
    text = words.take()
    if text not in ("blackhole", "unreachable", "prohibit", "nop"):
        raise BadValueError("must be blackhole, unreachable, prohibit or nop", words.at - 1)
    return text


_FIELDS = {
    "from": "source",
    "to": "destination",
    "iif": "incoming",
    "dev": "incoming",
    "oif": "outgoing",
    "tunnel-id": "tunnel",
    "uidrange": "users",
    "ipproto": "ip_protocol",
    "sport": "source_ports",
    "dport": "destination_ports",
    "suppress_prefixlength": "suppress_prefix_length",
    "suppress_ifgroup": "suppress_group",
}
_READERS: dict[str, Callable[[Words], object]] = {
    "from": _parse_network,
    "to": _parse_network,
    "iif": Words.interface,
    "dev": Words.interface,
    "oif": Words.interface,
    "tos": lambda words: words.number(0, 255),
    "table": parse_table,
    "preference": lambda words: words.number(1, 2**32 - 1),
    "realms": lambda words: parse_realms(words.take(), words.at - 1),
    "tunnel-id": lambda words: words.number(0, 2**32 - 1),
    "uidrange": _range_reader(2**32 - 2),
    "protocol": parse_protocol,
    "ipproto": _parse_ip_protocol,
    "sport": _range_reader(65535),
    "dport": _range_reader(65535),
    "suppress_prefixlength": lambda words: words.number(0, 128),
    "suppress_ifgroup": lambda words: words.number(0, 2**31 - 1),
}
