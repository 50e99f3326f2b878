# SPDX-License-Identifier: Apache-2.0
"""Find firewall rules that block requests, adverts or ICMP, in the JSON of `nft -j list ruleset`. Pure."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pointsman.doctor.facts import FirewallRule
from pointsman.model.address import Address, Network

VRRP_NAMES = ("vrrp", "112", "carp")
_PATH_OF_REQUESTS = ("ingress", "prerouting", "input")
_PATH_OF_ANSWERS = ("output", "postrouting")
_TCP_NAMES = ("tcp", "6")
ICMP_NAMES = ("icmp", "1", "icmpv6", "ipv6-icmp", "58")
_ND_TARGET = {"base": "th", "offset": 64, "len": 128}
"""Target address of a neighbour solicitation in the JSON of nft, which has no name for this field."""
_PLAIN = {"counter", "accept", "drop", "reject", "log"}
_XT_REJECT = {"type": "target", "name": "REJECT"}
_XT_PLAIN = (_XT_REJECT, {"type": "match", "name": "comment"})
"""Targets and matches that iptables-nft leaves in the format of iptables."""
_ABOUT_THE_MTU = ("destination-unreachable", "packet-too-big")


def parse(text: str) -> tuple[FirewallRule, ...]:
    """Return the rules that end in drop or reject. Raises ValueError for text that is not nft's JSON."""
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("nftables"), list):
        raise ValueError("not the JSON of nft")
    items = [item for item in document["nftables"] if isinstance(item, dict)]
    hooks = {
        _key(item["chain"], "name"): str(item["chain"].get("hook", ""))
        for item in items
        if isinstance(item.get("chain"), dict)
    }
    found, sparing = [], set[tuple[str, str, str]]()
    for rule in (item["rule"] for item in items if isinstance(item.get("rule"), dict)):
        chain = _key(rule, "chain")
        if _is_blocking(rule.get("expr", [])):
            found.append(msgspec.structs.replace(_parse_rule(rule, hooks), spares_icmp=chain in sparing))
        elif _spares_icmp(rule, hooks):
            sparing.add(chain)
    return tuple(found)


def blocking_requests(
    rules: Iterable[FirewallRule], vip: Address, ports: Sequence[int] = ()
) -> list[FirewallRule]:
    """Return the rules that drop every request for the VIP or every answer from it.

    Rules with matches that the parser does not understand do not count, nor do rules for ports that were
    not given.
    """
    return [
        rule
        for rule in rules
        if not rule.conditional
        and _has_family_of(rule, vip)
        and _matches_tcp(rule)
        and (not rule.ports or any(port in rule.ports for port in ports))
        and (
            (rule.hook in _PATH_OF_REQUESTS and not rule.sources and _contains(rule.destinations, vip))
            or (rule.hook in _PATH_OF_ANSWERS and not rule.destinations and _contains(rule.sources, vip))
        )
    ]


def drops_arp_requests(rules: Iterable[FirewallRule], vip: Address) -> bool:
    """True if ARP requests for the VIP are dropped before the kernel answers (realserver up --method nft)."""
    return any(
        rule.family == "arp"
        and rule.hook == "input"
        and not rule.conditional
        and _contains(rule.destinations, vip)
        for rule in rules
    )


def blocking_adverts(rules: Iterable[FirewallRule]) -> list[FirewallRule]:
    """Return the rules that drop incoming or outgoing VRRP."""
    return [
        rule
        for rule in rules
        if not rule.conditional
        and rule.hook in (*_PATH_OF_REQUESTS, *_PATH_OF_ANSWERS)
        and any(name in VRRP_NAMES for name in rule.protocols)
    ]


def blocking_icmp(rules: Iterable[FirewallRule]) -> list[FirewallRule]:
    """Return the rules that drop incoming ICMP: all of it, or the messages about the MTU."""
    return [
        rule
        for rule in rules
        if not (rule.conditional or rule.spares_icmp)
        and rule.hook in _PATH_OF_REQUESTS
        and not rule.sources
        and any(name in ICMP_NAMES for name in rule.protocols)
    ]


def parse_redirected(text: str) -> tuple[Network, ...]:
    """Return the destinations that `realserver up --method redirect` redirects to this host.

    Raises ValueError for text that is not JSON.
    """
    found: list[Network] = []
    for match in _matches_of_chain(text, "pointsman_redirect", "prerouting"):
        if _matched_field(match.get("left")) == "daddr":
            found += _parse_networks(_alternatives(match.get("right")))
    return tuple(found)


def parse_undiscovered(text: str) -> tuple[Address, ...]:
    """Return the IPv6 addresses for which `realserver up --method nft` drops neighbour discovery."""
    found: dict[Address, None] = {}
    for match in _matches_of_chain(text, "pointsman_nd", "input"):
        if match.get("left") == {"payload": _ND_TARGET}:
            values = [int(str(value), 0) for value in _alternatives(match.get("right"))]
            found.update({ipaddress.IPv6Address(value): None for value in values})
    return tuple(found)


def _matches_of_chain(text: str, table: str, chain: str) -> Iterator[Mapping[str, Any]]:
    """Yield the matches of all rules in one of pointsman's own chains."""
    for item in json.loads(text)["nftables"]:
        rule = item.get("rule", {})
        if (rule.get("table"), rule.get("chain")) == (table, chain):
            yield from (match for step in rule["expr"] if isinstance(match := step.get("match"), dict))


def _contains(networks: Sequence[Network], vip: Address) -> bool:
    return any(network.version == vip.version and vip in network for network in networks)


def _has_family_of(rule: FirewallRule, vip: Address) -> bool:
    families = ("ip", "inet", "netdev") if vip.version == 4 else ("ip6", "inet", "netdev")
    return rule.family in families


def _matches_tcp(rule: FirewallRule) -> bool:
    return not rule.protocols or any(name in _TCP_NAMES for name in rule.protocols)


def _key(item: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    return str(item.get("family")), str(item.get("table")), str(item.get(name))


def _is_blocking(expressions: Any) -> bool:
    return isinstance(expressions, list) and any(
        isinstance(step, dict) and ("drop" in step or "reject" in step or step.get("xt") == _XT_REJECT)
        for step in expressions
    )


def _spares_icmp(rule: Mapping[str, Any], hooks: Mapping[tuple[str, str, str], str]) -> bool:
    """True if the rule accepts the messages about the MTU: as ICMP, or as related to a connection (also in a
    map).
    """
    text = json.dumps(rule.get("expr"))
    if '"accept"' not in text:
        return False
    if '"related"' in text:
        return True
    accepting = _parse_rule(rule, hooks)
    return not accepting.conditional and any(name in ICMP_NAMES for name in accepting.protocols)


def _parse_rule(rule: Mapping[str, Any], hooks: Mapping[tuple[str, str, str], str]) -> FirewallRule:
    family, table, chain = _key(rule, "chain")
    sources: list[Network] = []
    destinations: list[Network] = []
    protocols: list[str] = []
    ports: list[int] = []
    conditional = False
    for step in rule["expr"]:
        match = step.get("match") if isinstance(step, dict) else None
        if not isinstance(match, dict):
            plain = isinstance(step, dict) and (_PLAIN & set(step) or step.get("xt") in _XT_PLAIN)
            conditional |= not plain
            continue
        field, values = _matched_field(match.get("left")), _alternatives(match.get("right"))
        if match.get("op") not in ("==", "in") or not values:
            conditional = True
        elif field in ("saddr", "daddr"):
            networks = _parse_networks(values)
            conditional |= not networks
            (sources if field == "saddr" else destinations).extend(networks)
        elif field == "arp daddr ip":
            destinations += _parse_networks(values)
            conditional |= not destinations
        elif field in ("protocol", "l4proto", "nexthdr"):
            protocols += [str(value) for value in values]
        elif field in ("icmp type", "icmpv6 type"):
            protocols.append(field.partition(" ")[0])
            conditional |= not any(value in _ABOUT_THE_MTU for value in values)
        elif field in ("tcp dport", "udp dport"):
            protocols.append(field[:3])
            numbers = [value for value in values if isinstance(value, int)]
            ports += numbers
            conditional |= not numbers
        else:
            conditional = True
    return FirewallRule(
        family=family,
        table=table,
        chain=chain,
        handle=int(rule.get("handle", 0)),
        hook=hooks.get((family, table, chain), ""),
        destinations=tuple(destinations),
        sources=tuple(sources),
        protocols=tuple(protocols),
        ports=tuple(ports),
        conditional=conditional,
    )


def _matched_field(left: Any) -> str:
    """Return the matched field: `saddr`, `l4proto`, `tcp dport` ... Empty for an unknown field."""
    if not isinstance(left, dict):
        return ""
    if isinstance(left.get("meta"), dict):
        return str(left["meta"].get("key", ""))
    payload = left.get("payload")
    if not isinstance(payload, dict):
        return ""
    protocol, field = str(payload.get("protocol", "")), str(payload.get("field", ""))
    return field if protocol in ("ip", "ip6") else f"{protocol} {field}"


def _alternatives(right: Any) -> list[Any]:
    """Return the alternatives of a match: one value, or the members of an anonymous set."""
    if isinstance(right, dict) and isinstance(right.get("set"), list):
        return list(right["set"])
    return [right]


def _parse_networks(values: Iterable[Any]) -> list[Network]:
    found: list[Network] = []
    for value in values:
        prefix = value.get("prefix") if isinstance(value, dict) else None
        text = f"{prefix.get('addr')}/{prefix.get('len')}" if isinstance(prefix, dict) else str(value)
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_network(text, strict=False))
    return found
