# SPDX-License-Identifier: Apache-2.0
"""Read the chains of a firewall from the text of iptables-save. Pure.

This is the only form in which iptables-legacy shows its tables, and the only one in which iptables-nft shows
matches that nft has no words for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence

import msgspec

from pointsman.doctor.firewall.chain import Action, Chain, Interval, Match, Rule, Ruleset, Value
from pointsman.doctor.firewall.expression import (
    OF_CLIENTS,
    PROTOCOLS,
    TCP_FLAGS,
    UNKNOWN,
    WHOLE_MARK,
    parse_networks,
)
from pointsman.doctor.firewall.packet import NOT_UNDERSTOOD

_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_NAT = {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100}
"""Priorities of the tables at their hooks."""
_MODULES = (
    "tcp", "udp", "icmp", "icmp6", "comment", "multiport", "conntrack", "state", "addrtype", "pkttype",
    "mark", "limit", "hashlimit", "recent", "set", "connlimit", "rpfilter", "iprange", "mac",
)  # fmt: skip
"""Modules whose options are understood."""
_SILENT_OPTIONS = (
    "--comment", "--limit", "--limit-burst", "--hashlimit-upto", "--hashlimit-burst", "--hashlimit-mode",
    "--hashlimit-name", "--hashlimit-srcmask", "--hashlimit-dstmask", "--hashlimit-htable-expire",
    "--hashlimit-htable-size", "--name", "--rsource", "--rdest", "--mask", "--seconds", "--hitcount",
    "--reap", "--set", "--connlimit-mask", "--connlimit-saddr", "--loose", "--validmark",
)  # fmt: skip
"""Options that hold for one packet of a new client, or only describe another option."""
_OFTEN = (
    "--hashlimit-above", "--rcheck", "--update", "--connlimit-above", "--mac-source", "--remove",
    "--invert",
)  # fmt: skip
"""Options that hold for clients with a history, or for named ones."""
_SILENT_TARGETS = (
    "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CT", "TCPMSS", "CHECKSUM", "CONNMARK", "CLASSIFY", "TOS",
    "DSCP", "TTL", "HL", "SET", "SECMARK", "RATEEST", "CONNSECMARK",
)  # fmt: skip
_TARGETS = {
    "ACCEPT": Action.ACCEPT,
    "DROP": Action.DROP,
    "REJECT": Action.REJECT,
    "RETURN": Action.RETURN,
    "SNAT": Action.ACCEPT,
    "MASQUERADE": Action.ACCEPT,
    "NOTRACK": Action.NOTRACK,
    "MARK": Action.MARK,
}
_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)')
_LONGEST = 100
"""Most characters of a line in the name of a rule."""


class _Draft(msgspec.Struct):
    """A chain during parsing."""

    table: str
    name: str
    policy: str
    rules: list[Rule] = []


def parse(text: str, tool: str) -> Ruleset:
    """Return the chains. `tool`: the command that changes them, such as ip6tables-legacy.

    Raises ValueError for text that is not in the format of iptables-save(8).
    """
    table, drafts = "", dict[tuple[str, str], _Draft]()
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, _, policy = line[1:].partition(" ")
            drafts[table, name] = _Draft(table, name, policy.split(" ")[0])
        elif line.startswith("-A "):
            words = _split_words(line)
            if (draft := drafts.get((table, words[1]))) is None:
                raise ValueError(f"{line!r} is for a chain that does not exist")
            own = {name for place, name in drafts if place == table}
            draft.rules.append(_parse_rule(words[2:], f"{tool} -t {table} -D {words[1]}", own))
        elif line and not line.startswith("#") and line != "COMMIT":
            raise ValueError(f"{line!r} is not a line of iptables-save")
    return tuple(_to_chain(draft, tool) for draft in drafts.values())


def _to_chain(draft: _Draft, tool: str) -> Chain:
    built_in = draft.policy != "-"
    priorities = _NAT.get(draft.name, 0) if draft.table == "nat" else _PRIORITIES.get(draft.table, 0)
    return Chain(
        tool=tool,
        family="ip6" if tool.startswith("ip6") else "ip",
        table=draft.table,
        name=draft.name,
        hook=draft.name.lower() if built_in else "",
        priority=priorities,
        nat=draft.table == "nat",
        accepts=draft.policy != "DROP",
        rules=tuple(draft.rules),
    )


def _split_words(line: str) -> list[str]:
    """Return the words of a line.

    A backslash precedes quotes of either kind and backslashes within quotes. A shell's rules differ
    slightly.
    """
    found = _WORD.findall(line)
    return [plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in found]


def _parse_rule(words: Sequence[str], deletion: str, own: set[str]) -> Rule:
    matches: list[Match] = []
    steps: tuple[tuple[Action, str], ...] = ()
    for negated, option, values in _options(words):
        if option in ("-j", "-g"):
            rest = words[words.index(option) + 2 :]
            steps = _parse_target(option, values[0] if values else "", rest, own)
            break
        found = _parse_option(option, values)
        if found is not None:
            matches.append(msgspec.structs.replace(found, negated=found.negated is not negated))
    line = shlex.join(words)
    short = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
    return Rule(matches=tuple(matches), steps=steps, name=f"`{short}`", removal=f"{deletion} {line}")


def _options(words: Sequence[str]) -> Iterator[tuple[bool, str, list[str]]]:
    """Yield each option with its values, and True if it is negated."""
    rest, negated = list(words), False
    while rest:
        word = rest.pop(0)
        if word == "!":
            negated = True
            continue
        values = []
        while rest and rest[0] != "!" and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        yield negated, word, values
        negated = False


def _parse_target(
    option: str, target: str, rest: Sequence[str], own: set[str]
) -> tuple[tuple[Action, str], ...]:
    if target in own:
        return ((Action.JUMP if option == "-j" else Action.GOTO, target),)
    if target == "CT" and "--notrack" in rest:
        return ((Action.NOTRACK, target),)
    if target == "REDIRECT":
        ports = [word for word in rest if word.isdigit()]
        return ((Action.REDIRECT, ports[0] if ports else ""),)
    if target in _SILENT_TARGETS or not target:
        return ()
    action = _TARGETS.get(target, Action.OTHER)
    return ((action, "" if action is Action.MARK else target),)


def _parse_option(option: str, values: Sequence[str]) -> Match | None:
    """Return the match of an option. None: it always holds."""
    value = values[0] if values else ""
    if option == "-m":
        return None if value in _MODULES else UNKNOWN
    if option in _SILENT_OPTIONS or (option == "--icmp-type" and value == "any"):
        return None
    if option in _OFTEN:
        return OF_CLIENTS
    if option == "--connlimit-upto":
        return msgspec.structs.replace(OF_CLIENTS, negated=True)
    if option == "--match-set":
        return OF_CLIENTS if values[1:] and values[1].startswith("src") else UNKNOWN
    if option == "--tcp-flags" and len(values) == 2:
        return Match(fields=("flags",), alternatives=(((_flags(values[0]), _flags(values[1])),),))
    if option not in _FIELDS:
        return UNKNOWN
    field, parse_value = _FIELDS[option]
    rows = [row for part in value.split(",") for row in parse_value(part)]
    return Match(fields=field, alternatives=tuple(rows))


Row = tuple[Value, ...]


def _networks(text: str) -> list[Row]:
    first, dash, last = text.partition("-")
    return [(network,) for network in parse_networks({"range": [first, last]} if dash else text)] or _NOTHING


def _ports(text: str) -> list[Row]:
    first, colon, last = text.partition(":")
    ends = (first or "0", last or "65535") if colon else (first, first)
    return [((int(ends[0]), int(ends[1])),)] if all(end.isdigit() for end in ends) else _NOTHING


def _protocol(text: str) -> list[Row]:
    number = int(text) if text.isdigit() else PROTOCOLS.get(text, -1)
    return [((number, number),)] if number >= 0 else _NOTHING


def _interface(text: str) -> list[Row]:
    return [(f"{text[:-1]}*" if text.endswith("+") else text,)]


def _word(text: str) -> list[Row]:
    return [(text.lower(),)]


def _cast(text: str) -> list[Row]:
    return [("host" if text == "unicast" else text,)]


def _mark(text: str) -> list[Row]:
    value, _, mask = text.partition("/")
    try:
        return [((int(mask, 0) if mask else WHOLE_MARK, int(value, 0)),)]
    except ValueError:
        return _NOTHING


def _icmp(text: str) -> list[Row]:
    number, _, code = text.partition("/")
    if not number.isdigit() or not (code or "0").isdigit():
        return _NO_ICMP
    codes: Interval = (int(code), int(code)) if code else (0, 255)
    return [((int(number), int(number)), codes)]


def _flags(text: str) -> int:
    names = [name.lower() for name in text.split(",")]
    if names == ["all"]:
        return 0x3F
    return sum(TCP_FLAGS.get(name, 0) for name in names)


_NOTHING: list[Row] = [(NOT_UNDERSTOOD,)]
_NO_ICMP: list[Row] = [(NOT_UNDERSTOOD, NOT_UNDERSTOOD)]
_FIELDS: dict[str, tuple[tuple[str, ...], Callable[[str], list[Row]]]] = {
    "-s": (("saddr",), _networks),
    "-d": (("daddr",), _networks),
    "--src-range": (("saddr",), _networks),
    "--dst-range": (("daddr",), _networks),
    "-p": (("protocol",), _protocol),
    "-i": (("iif",), _interface),
    "-o": (("oif",), _interface),
    "--sport": (("sport",), _ports),
    "--sports": (("sport",), _ports),
    "--dport": (("dport",), _ports),
    "--dports": (("dport",), _ports),
    "--ctstate": (("state",), _word),
    "--state": (("state",), _word),
    "--ctstatus": (("status",), _word),
    "--dst-type": (("daddr type",), _word),
    "--src-type": (("saddr type",), _word),
    "--pkt-type": (("cast",), _cast),
    "--mark": (("mark",), _mark),
    "--icmp-type": (("icmp type", "icmp code"), _icmp),
    "--icmpv6-type": (("icmp type", "icmp code"), _icmp),
}
