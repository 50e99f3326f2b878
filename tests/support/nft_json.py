# SPDX-License-Identifier: Apache-2.0
"""Rulesets in the JSON of nft 1.0.6."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Steps = Sequence[Mapping[str, Any]]

ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
TCP_PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
SYN_ONLY = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]}
"""The four TCP flags that tell the first packet of a connection."""


def match(protocol: str, field: str, right: Any, operator: str = "==") -> dict[str, Any]:
    """Return a match of a header's field; protocol `meta` or `ct`: of that key."""
    if protocol in ("meta", "ct"):
        return equal({protocol: {"key": field}}, right, operator)
    return equal({"payload": {"protocol": protocol, "field": field}}, right, operator)


def equal(left: Any, right: Any, operator: str = "==") -> dict[str, Any]:
    """Return a match of any left side."""
    return {"match": {"op": operator, "left": left, "right": right}}


def fib(result: str, *flags: str) -> dict[str, Any]:
    return {"fib": {"result": result, "flags": list(flags)}}


def vmap(key: Any, data: Any) -> dict[str, Any]:
    """Return a verdict map: pairs of value and verdict, or the name of a map."""
    return {"vmap": {"key": key, "data": {"set": data} if isinstance(data, list) else data}}


def xt(name: str, kind: str = "match") -> dict[str, Any]:
    """Return what nft prints of a match or target of iptables-nft."""
    return {"xt": {"type": kind, "name": name}}


def state(*names: str) -> dict[str, Any]:
    return match("ct", "state", list(names) if len(names) > 1 else names[0], "in")


def jump(target: str, word: str = "jump") -> dict[str, Any]:
    return {word: {"target": target}}


def chain(
    name: str, *rules: Steps, table: str = "fw", family: str = "inet", **base: Any
) -> list[dict[str, Any]]:
    """Return a chain with its rules. `base`: hook, prio, policy and type of a base chain."""
    place = {"family": family, "table": table}
    if base:
        base = {"type": "filter", "prio": 0, "policy": "accept"} | base
    written: list[dict[str, Any]] = [{"chain": {**place, "name": name, "handle": 1, **base}}]
    for number, steps in enumerate(rules):
        written.append({"rule": {**place, "chain": name, "handle": 10 + number, "expr": list(steps)}})
    return written


def named_set(name: str, elements: Sequence[Any], kind: str = "set", **more: Any) -> dict[str, Any]:
    return {kind: {"family": "inet", "table": "fw", "name": name, "elem": list(elements), **more}}


def ruleset(*items: dict[str, Any]) -> str:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]})


def at_input(*rules: Steps, policy: str = "accept", family: str = "inet") -> str:
    """Return a ruleset of one chain at input."""
    return ruleset(*chain("input", *rules, hook="input", policy=policy, family=family))
