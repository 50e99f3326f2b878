# SPDX-License-Identifier: Apache-2.0
"""nftables' JSON, as nft 1.0.6 prints it, and what is no such JSON."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from pointsman.doctor.rules.firewall import (
    blocking_adverts,
    blocking_icmp,
    blocking_requests,
    drops_arp_requests,
    parse,
)

VIP = ipaddress.ip_address("192.168.100.9")
CHAIN = {"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter", "hook": "input"}


def ruleset(*expressions: Any) -> str:
    rule = {"family": "inet", "table": "filter", "chain": "input", "handle": 4, "expr": list(expressions)}
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"chain": CHAIN}, {"rule": rule}]})


def match(protocol: str, field: str, right: Any, operator: str = "==") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": operator, "left": left, "right": right}}


DADDR = match("ip", "daddr", "192.168.100.9")
DROP = {"drop": None}


def test_a_drop_for_the_vip() -> None:
    (rule,) = parse(ruleset(DADDR, {"counter": {"packets": 0, "bytes": 0}}, DROP))
    assert (rule.removal, rule.hook) == ("nft delete rule inet filter input handle 4", "input")
    assert blocking_requests([rule], VIP) == [rule]


@pytest.mark.parametrize(
    ("steps", "accused"),
    [
        ([DADDR, {"accept": None}], False),
        ([DADDR, {"reject": {"type": "tcp reset"}}], True),
        ([match("ip", "daddr", "192.168.100.9", "!="), DROP], False),
        ([match("ip", "daddr", {"prefix": {"addr": "192.168.100.0", "len": 24}}), DROP], True),
        ([match("ip", "daddr", {"set": ["10.0.0.1", "192.168.100.9"]}), DROP], True),
        ([match("ip", "daddr", "@blocked"), DROP], False),
        ([DADDR, {"limit": {"rate": 5}}, DROP], False),
        ([DADDR, match("tcp", "dport", 443), DROP], True),
        ([DADDR, match("tcp", "dport", 25), DROP], False),
        (
            [DADDR, {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth3"}}, DROP],
            False,
        ),
    ],
)
def test_which_rules_stop_requests(steps: list[Any], accused: bool) -> None:
    assert bool(blocking_requests(parse(ruleset(*steps)), VIP, [443])) is accused


def test_the_rule_of_realserver_up_method_nft() -> None:
    chain = CHAIN | {"family": "arp", "table": "pointsman"}
    vips = match("arp", "daddr ip", {"set": ["192.168.100.9", "192.168.100.8"]})
    rule = {"family": "arp", "table": "pointsman", "chain": "input", "handle": 4, "expr": [vips, DROP]}
    rules = parse(json.dumps({"nftables": [{"chain": chain}, {"rule": rule}]}))
    assert drops_arp_requests(rules, VIP)
    assert not drops_arp_requests(rules, ipaddress.ip_address("192.168.100.7"))
    assert not blocking_requests(rules, VIP)


@pytest.mark.parametrize("name", ["vrrp", 112])
def test_rules_that_drop_adverts(name: Any) -> None:
    rules = parse(ruleset(match("ip", "protocol", name), DROP))
    assert blocking_adverts(rules) == list(rules)
    l4 = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": name}}
    assert blocking_adverts(parse(ruleset(l4, DROP)))
    assert not blocking_adverts(parse(ruleset(match("ip", "protocol", "tcp"), DROP)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": 3}'])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


XT_REJECT = {"xt": {"type": "target", "name": "REJECT"}}
XT_COMMENT = {"xt": {"type": "match", "name": "comment"}}


@pytest.mark.parametrize(
    ("steps", "accused"),
    [
        ([DADDR, XT_REJECT], True),
        ([DADDR, XT_COMMENT, {"counter": None}, XT_REJECT], True),
        ([DADDR, {"xt": {"type": "match", "name": "recent"}}, XT_REJECT], False),
        ([DADDR, {"xt": {"type": "target", "name": "LOG"}}], False),
    ],
)
def test_what_iptables_nft_leaves_in_its_own_words(steps: list[Any], accused: bool) -> None:
    assert bool(blocking_requests(parse(ruleset(*steps)), VIP)) is accused


ICMP = match("ip", "protocol", "icmp")
RELATED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
ACCEPT = {"accept": None}
STATES = {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["related", {"accept": None}]]}}}


@pytest.mark.parametrize(
    ("before", "accused"),
    [
        ([RELATED, ACCEPT], False),
        ([STATES], False),
        ([match("icmp", "type", {"set": ["destination-unreachable", "echo-request"]}), ACCEPT], False),
        ([ICMP, ACCEPT], False),
        ([match("icmp", "type", "echo-request"), ACCEPT], True),
        ([ICMP, {"limit": {"rate": 4}}, ACCEPT], True),
        ([match("tcp", "dport", 80), ACCEPT], True),
        ([RELATED, {"counter": None}], True),
    ],
)
def test_a_drop_of_icmp_behind_a_rule_that_lets_messages_about_the_mtu_pass(
    before: list[Any], accused: bool
) -> None:
    document = json.loads(ruleset(ICMP, DROP))
    (place,) = (at for at, item in enumerate(document["nftables"]) if "rule" in item)
    earlier = document["nftables"][place]["rule"] | {"expr": before}
    document["nftables"].insert(place, {"rule": earlier})
    assert bool(blocking_icmp(parse(json.dumps(document)))) is accused
    document["nftables"][place]["rule"] = earlier | {"chain": "another"}
    assert blocking_icmp(parse(json.dumps(document)))
