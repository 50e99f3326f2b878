# SPDX-License-Identifier: Apache-2.0
"""Read the chains of a firewall from the JSON of `nft -j list ruleset`. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pointsman.doctor.firewall.chain import Action, Chain, Match, Rule, Ruleset
from pointsman.doctor.firewall.expression import (
    OF_CLIENTS,
    UNKNOWN,
    Key,
    Sets,
    key_of,
    parse_match,
    parse_networks,
)
from pointsman.model.address import Address, Network

_ND_TARGET = {"base": "th", "offset": 64, "len": 128}
"""Target address of a neighbour solicitation in the JSON of nft, which has no name for this field."""
_SILENT = {"counter", "log", "comment", "set", "map", "flow", "ct helper", "ct timeout", "continue", "dup"}
"""Statements that do not change a packet's way."""
_LIMITS = {"quota", "ct count", "connlimit"}
_VERDICTS = {
    "accept": Action.ACCEPT,
    "drop": Action.DROP,
    "reject": Action.REJECT,
    "return": Action.RETURN,
    "notrack": Action.NOTRACK,
    "snat": Action.ACCEPT,
    "masquerade": Action.ACCEPT,
}
_XT_SILENT = ("comment", "LOG", "NFLOG", "TRACE", "AUDIT", "CT", "TCPMSS", "CHECKSUM")
"""Matches and targets in the format of iptables that do not change a packet's way."""

Step = tuple[Action, str]


def parse(text: str) -> Ruleset:
    """Return the chains. Raises ValueError for text that is not nft's JSON."""
    items = _items(text)
    dormant = {
        (str(table.get("family")), str(table.get("name")))
        for item in items
        if isinstance(table := item.get("table"), dict) and "dormant" in table.get("flags", ())
    }
    sets = Sets(items)
    rules: dict[Key, list[Rule]] = {}
    for item in items:
        if isinstance(rule := item.get("rule"), dict):
            rules.setdefault(key_of(rule, "chain"), []).extend(_parse_rule(rule, sets))
    chains = (chain for item in items if isinstance(chain := item.get("chain"), dict))
    return tuple(
        _parse_chain(chain, rules.get(key_of(chain, "name"), []))
        for chain in chains
        if (str(chain.get("family")), str(chain.get("table"))) not in dormant
    )


def opaque_tables(text: str) -> list[tuple[str, str]]:
    """Return family and name of the tables in which iptables-nft keeps what nft does not print."""
    found = {
        key_of(rule, "chain")[:2]
        for item in _items(text)
        if isinstance(rule := item.get("rule"), dict)
        and any(isinstance(step, dict) and "xt" in step for step in rule.get("expr", []))
    }
    return sorted(found)


def _items(text: str) -> list[Mapping[str, Any]]:
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("nftables"), list):
        raise ValueError("not the JSON of nft")
    return [item for item in document["nftables"] if isinstance(item, dict)]


def _parse_chain(chain: Mapping[str, Any], rules: Sequence[Rule]) -> Chain:
    family, table, name = key_of(chain, "name")
    device = chain.get("dev")
    return Chain(
        family=family,
        table=table,
        name=name,
        hook=str(chain.get("hook", "")),
        priority=int(chain.get("prio", 0)),
        nat=chain.get("type") == "nat",
        accepts=chain.get("policy", "accept") != "drop",
        device=device if isinstance(device, str) else "",
        rules=tuple(rules),
    )


def _parse_rule(rule: Mapping[str, Any], sets: Sets) -> Iterator[Rule]:
    """Yield the rule. One with a verdict map is a rule for each entry of the map."""
    matches: list[Match] = []
    steps: list[Step] = []
    family, table, chain = key_of(rule, "chain")
    name = f"handle {rule.get('handle', 0)}"
    removal = f"nft delete rule {family} {table} {chain} {name}"
    for expression in rule.get("expr", []):
        kind, content = next(iter(expression.items())) if isinstance(expression, dict) else ("", None)
        if kind == "vmap":
            for match, verdict in _cases(content, rule, sets):
                yield Rule(matches=(*matches, match), steps=(*steps, verdict), name=name, removal=removal)
            return
        if kind == "match":
            matches.append(parse_match(content, rule, sets))
        elif kind == "limit":  # one packet is below every limit
            matches += [OF_CLIENTS] if (content or {}).get("inv") else []
        elif kind in _LIMITS:
            matches.append(OF_CLIENTS)
        elif kind == "xt":
            _parse_xt(content or {}, matches, steps)
        elif kind == "mangle":
            steps += _parse_mangle(content)
        elif kind not in _SILENT:
            steps.append(_parse_verdict(kind, content))
    yield Rule(matches=tuple(matches), steps=tuple(steps), name=name, removal=removal)


def _parse_xt(content: Mapping[str, Any], matches: list[Match], steps: list[Step]) -> None:
    """Read a match or target of iptables-nft, of which nft prints only the name."""
    name = str(content.get("name", ""))
    if name in _XT_SILENT:
        return
    if content.get("type") == "target":
        actions = {"REJECT": Action.REJECT, "MASQUERADE": Action.ACCEPT, "SNAT": Action.ACCEPT}
        steps.append((actions.get(name, Action.OTHER), name))
    else:
        matches.append(UNKNOWN)


def _parse_mangle(content: Any) -> list[Step]:
    """Read a statement that sets a field. Only the mark matters to other rules."""
    if isinstance(content, dict) and content.get("key") == {"meta": {"key": "mark"}}:
        value = content.get("value")
        return [(Action.MARK, str(value) if isinstance(value, int) else "")]
    return []


def _parse_verdict(name: str, content: Any) -> Step:
    if name in ("jump", "goto") and isinstance(content, dict):
        return Action(name), str(content.get("target", ""))
    if name == "redirect":
        port = content.get("port") if isinstance(content, dict) else None
        return (Action.REDIRECT, str(port)) if isinstance(port, int) else (Action.REDIRECT, "")
    return _VERDICTS.get(name, Action.OTHER), name


def _cases(content: Any, rule: Mapping[str, Any], sets: Sets) -> Iterator[tuple[Match, Step]]:
    """Yield the entries of a verdict map. A map that is not listed is one unknown target."""
    entries = sets.elements(rule, content.get("data")) if isinstance(content, dict) else None
    if entries is None:
        yield UNKNOWN, (Action.OTHER, "vmap")
        return
    for entry in entries:
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], dict) and entry[1]:
            kind, inner = next(iter(entry[1].items()))
            match = {"op": "==", "left": content.get("key"), "right": {"set": [entry[0]]}}
            if kind != "continue":
                yield parse_match(match, rule, sets), _parse_verdict(kind, inner)


def parse_redirected(text: str) -> tuple[Network, ...]:
    """Return the destinations that `realserver up --method redirect` redirects to this host.

    Raises ValueError for text that is not JSON.
    """
    return tuple(
        network
        for match in _matches_of_chain(text, "pointsman_redirect", "prerouting")
        if match.get("left", {}).get("payload", {}).get("field") == "daddr"
        for value in _alternatives(match)
        for network in parse_networks(value)
    )


def parse_undiscovered(text: str) -> tuple[Address, ...]:
    """Return the IPv6 addresses for which `realserver up --method nft` drops neighbour discovery."""
    found: dict[Address, None] = {
        ipaddress.IPv6Address(int(str(value), 0)): None
        for match in _matches_of_chain(text, "pointsman_nd", "input")
        if match.get("left") == {"payload": _ND_TARGET}
        for value in _alternatives(match)
    }
    return tuple(found)


def _alternatives(match: Mapping[str, Any]) -> list[Any]:
    return Sets([]).elements({}, match.get("right")) or []


def _matches_of_chain(text: str, table: str, chain: str) -> Iterator[Mapping[str, Any]]:
    """Yield the matches of all rules in one of pointsman's own chains."""
    for item in _items(text):
        rule = item.get("rule", {})
        if (rule.get("table"), rule.get("chain")) == (table, chain):
            yield from (match for step in rule["expr"] if isinstance(match := step.get("match"), dict))
