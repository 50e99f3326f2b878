# SPDX-License-Identifier: Apache-2.0
"""Find the blocking rules of iptables-legacy, whose tables nft does not show.

Pure: the text of `iptables-legacy-save` in, rules out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import shlex
from collections.abc import Iterator, Sequence

import msgspec

from pointsman.doctor.facts import FirewallRule
from pointsman.doctor.rules.firewall import ICMP_NAMES
from pointsman.model.address import Network

_REFUSALS = ("DROP", "REJECT")
_SILENT_MATCHES = ("tcp", "udp", "icmp", "icmp6", "comment")
"""Matches without a meaning apart from their own options."""
_SAY_NOTHING = ("--comment", "--reject-with")
_TO_THE_MTU = {"--icmp-type": ("any", "3", "3/4"), "--icmpv6-type": ("1", "2")}
"""ICMP types destination unreachable and packet too big, in the format of iptables-save."""
_WORD = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)')


class _Draft(msgspec.Struct):
    """A rule during parsing."""

    destinations: list[Network] = []
    sources: list[Network] = []
    protocols: list[str] = []
    ports: list[int] = []
    target: str = ""
    related: bool = False
    conditional: bool = False

    def spares_icmp(self) -> bool:
        """True if the rule accepts the messages about the MTU: as ICMP, or as related to a connection."""
        of_icmp = not self.conditional and any(name in ICMP_NAMES for name in self.protocols)
        return self.target == "ACCEPT" and (self.related or of_icmp)


def parse(text: str, family: str) -> tuple[FirewallRule, ...]:
    """Return the rules that drop or reject.

    `family` is `ip`, or `ip6` for the output of ip6tables-legacy-save. Raises ValueError for text that is
    not in the format of iptables-save(8).
    """
    found = []
    table, own, sparing = "", set[str](), set[str]()
    for line in text.splitlines():
        if line.startswith("*"):
            table, own, sparing = line[1:].strip(), set(), set()
        elif line.startswith(":"):
            chain, _, policy = line[1:].partition(" ")
            own |= {chain} if policy.startswith("-") else set()
        elif line.startswith("-A "):
            _, chain, *words = _split_words(line)
            draft = _parse_words(words)
            if draft.spares_icmp():
                sparing.add(chain)
            if draft.target in _REFUSALS:
                rule = _to_rule(draft, family, table, chain, words)
                hook = "" if chain in own else rule.hook
                found.append(msgspec.structs.replace(rule, hook=hook, spares_icmp=chain in sparing))
        elif line and not line.startswith("#") and line != "COMMIT":
            raise ValueError(f"{line!r} is not a line of iptables-save")
    return tuple(found)


def _to_rule(draft: _Draft, family: str, table: str, chain: str, words: Sequence[str]) -> FirewallRule:
    """Return the draft as a rule of one of the kernel's own chains, whose names are the hooks."""
    command = {"ip": "iptables-legacy", "ip6": "ip6tables-legacy"}[family]
    return FirewallRule(
        family=family,
        table=table,
        chain=chain,
        handle=0,
        hook=chain.lower(),
        destinations=tuple(draft.destinations),
        sources=tuple(draft.sources),
        protocols=tuple(draft.protocols),
        ports=tuple(draft.ports),
        conditional=draft.conditional,
        legacy=f"{command} -t {table} -D {chain} {shlex.join(words)}",
    )


def _split_words(line: str) -> list[str]:
    """Return the words of a line.

    A backslash precedes quotes of either kind and backslashes within quotes. A shell's rules differ
    slightly.
    """
    found = _WORD.findall(line)
    return [plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in found]


def _parse_words(words: Sequence[str]) -> _Draft:
    """Parse the words of a rule. Words that are not understood make it conditional."""
    draft = _Draft()
    for option, value in _options(words, draft):
        if option in ("-d", "-s"):
            networks = list(_parse_network(value))
            draft.conditional |= not networks
            (draft.destinations if option == "-d" else draft.sources).extend(networks)
        elif option == "-p":
            draft.protocols.append(value)
        elif option == "-j":
            draft.target = value
        elif option == "--dport" and value.isdigit():
            draft.ports.append(int(value))
        elif option in _TO_THE_MTU:
            draft.conditional |= value not in _TO_THE_MTU[option]
        elif not (option in _SAY_NOTHING or (option == "-m" and value in _SILENT_MATCHES)):
            draft.conditional = True
            draft.related |= option in ("--ctstate", "--state") and "RELATED" in value.split(",")
    return draft


def _options(words: Sequence[str], draft: _Draft) -> Iterator[tuple[str, str]]:
    """Yield pairs of option and value. A negated option (!) or another form makes the rule conditional."""
    rest = list(words)
    while rest:
        option = rest.pop(0)
        if option == "!" or not option.startswith("-"):
            draft.conditional = True
            continue
        follows = bool(rest) and not rest[0].startswith("-") and rest[0] != "!"
        yield option, rest.pop(0) if follows else ""


def _parse_network(text: str) -> Iterator[Network]:
    with contextlib.suppress(ValueError):
        yield ipaddress.ip_network(text, strict=False)
