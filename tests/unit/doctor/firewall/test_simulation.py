# SPDX-License-Identifier: Apache-2.0
"""The way of one packet through rulesets of nftables: what passes, what is dropped, what is not decided."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest
from tests.support import firewall_packets
from tests.support.firewall_packets import REQUEST, VIP
from tests.support.nft_json import (
    ACCEPT,
    DROP,
    SYN_ONLY,
    TCP_PORT,
    at_input,
    chain,
    equal,
    fib,
    jump,
    match,
    named_set,
    ruleset,
    state,
    vmap,
    xt,
)

from pointsman.doctor.firewall.nftables import opaque_tables, parse
from pointsman.doctor.firewall.packet import ACK, ANY_PORT, SYN, TCP, Packet
from pointsman.doctor.firewall.simulation import Fate, judge

ADVERT = msgspec.structs.replace(firewall_packets.ADVERT, source=ipaddress.ip_address("192.168.7.2"))
PASSES, DROPPED, UNDECIDED = Fate.PASSES, Fate.DROPPED, Fate.UNDECIDED
HERE = match("ip", "daddr", "192.168.7.33")
WEB = match("tcp", "dport", 80)
ESTABLISHED = state("established", "related")
UNKNOWN = equal({"rt": {"key": "classid"}}, 1)
MARKED = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 7}}
UDP_OR_TCP = match("meta", "l4proto", {"set": ["tcp", "udp"]})
BLOCKED = match("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}})


def fate(text: str, packet: Packet = REQUEST) -> Fate:
    return judge(parse(text), packet).fate


@pytest.mark.parametrize(
    ("rules", "request_", "advert"),
    [
        ([], DROPPED, DROPPED),
        ([[ESTABLISHED, ACCEPT]], DROPPED, DROPPED),
        ([[match("meta", "iif", "lo"), ACCEPT], [match("tcp", "dport", 22), ACCEPT]], DROPPED, DROPPED),
        ([[WEB, ACCEPT]], PASSES, DROPPED),
        ([[match("tcp", "dport", {"range": [80, 90]}), ACCEPT]], PASSES, DROPPED),
        ([[match("tcp", "dport", {"set": [22, {"range": [79, 81]}]}), ACCEPT]], PASSES, DROPPED),
        ([[match("tcp", "dport", 22, "!="), ACCEPT]], PASSES, DROPPED),
        ([[match("udp", "dport", 22, "!="), ACCEPT]], DROPPED, DROPPED),
        ([[UDP_OR_TCP, match("th", "dport", 80), ACCEPT]], PASSES, DROPPED),
        ([[match("ip", "protocol", "vrrp"), ACCEPT]], DROPPED, PASSES),
        ([[match("meta", "l4proto", 112), ACCEPT]], DROPPED, PASSES),
        ([[match("ip", "daddr", {"prefix": {"addr": "224.0.0.0", "len": 4}}), ACCEPT]], DROPPED, PASSES),
        ([[match("ip", "daddr", {"range": ["192.168.7.30", "192.168.7.40"]}), ACCEPT]], PASSES, DROPPED),
        ([[match("meta", "pkttype", "multicast"), ACCEPT]], DROPPED, PASSES),
        ([[match("meta", "iifname", {"set": ["eth*", "wlan0"]}), ACCEPT]], PASSES, PASSES),
        ([[match("meta", "iifname", "eth1"), ACCEPT]], DROPPED, DROPPED),
        ([[match("meta", "nfproto", "ipv6"), ACCEPT]], DROPPED, DROPPED),
        ([[match("ip6", "nexthdr", 112), ACCEPT]], DROPPED, DROPPED),
        ([[match("ip", "saddr", "192.168.7.2"), ACCEPT]], UNDECIDED, PASSES),
        ([[BLOCKED, ACCEPT]], UNDECIDED, DROPPED),
        ([[UNKNOWN, ACCEPT]], UNDECIDED, UNDECIDED),
        ([[{"limit": {"rate": 10, "per": "second"}}, ACCEPT]], PASSES, PASSES),
        ([[match("ct", "status", "dnat", "in"), ACCEPT]], DROPPED, DROPPED),
        ([[match("meta", "mark", 4), ACCEPT]], DROPPED, DROPPED),
        ([[{"queue": {"num": 1}}]], UNDECIDED, UNDECIDED),
    ],
)  # fmt: skip
def test_default_deny(rules: list[Any], request_: Fate, advert: Fate) -> None:
    text = at_input(*rules, policy="drop")
    assert (fate(text), fate(text, ADVERT)) == (request_, advert)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], PASSES),
        ([[DROP]], DROPPED),
        ([[HERE, {"counter": None}, {"log": {"prefix": "no"}}, DROP]], DROPPED),
        ([[WEB, ACCEPT], [{"reject": {"type": "icmpx"}}]], PASSES),
        ([[{"reject": {"type": "icmpx"}}]], DROPPED),
        ([[BLOCKED, DROP]], PASSES),
        ([[match("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!="), DROP]], UNDECIDED),
        ([[match("ip", "saddr", "@bad"), DROP]], PASSES),
        ([[match("ip", "saddr", "@elsewhere"), DROP]], UNDECIDED),
        ([[{"limit": {"rate": 10, "inv": True}}, DROP]], PASSES),
        ([[UNKNOWN, DROP]], UNDECIDED),
        ([[UNKNOWN, ACCEPT], [DROP]], UNDECIDED),
        ([[UNKNOWN, DROP], [DROP]], DROPPED),
        ([[match("tcp", "dport", "@ports"), DROP]], DROPPED),
        ([[state("invalid"), DROP]], PASSES),
        ([[equal(SYN_ONLY, "syn", "!="), state("new"), DROP]], PASSES),
        ([[equal(SYN_ONLY, "syn"), DROP]], DROPPED),
        ([[match("tcp", "flags", "syn", "in"), DROP]], DROPPED),
        ([[match("tcp", "flags", {"set": ["ack", "rst"]}), DROP]], PASSES),
        ([[equal(fib("oif", "saddr", "iif"), False), DROP]], PASSES),
        ([[equal(fib("type", "daddr"), "local"), DROP]], DROPPED),
        ([[MARKED], [match("meta", "mark", 7), DROP]], DROPPED),
        ([[vmap({"ct": {"key": "state"}}, [["established", ACCEPT], ["new", DROP]])]], DROPPED),
        ([[vmap(TCP_PORT, "@by_port")]], DROPPED),
        ([[vmap(TCP_PORT, "@elsewhere")]], UNDECIDED),
        ([[xt("string"), DROP]], UNDECIDED),
        ([[xt("comment"), xt("REJECT", "target")]], DROPPED),
    ],
)  # fmt: skip
def test_default_accept(rules: list[Any], expected: Fate) -> None:
    sets = (
        named_set("bad", [{"elem": {"val": "10.0.0.1", "timeout": 9}}]),
        named_set("ports", [22, {"range": [80, 81]}]),
        named_set("by_port", [[22, ACCEPT], [80, jump("refuse", "goto")]], "map", map="verdict"),
    )
    items = [*sets, *chain("input", *rules, hook="input"), *chain("refuse", [DROP])]
    assert fate(ruleset(*items)) is expected


def test_a_concatenation_holds_if_each_part_does() -> None:
    left = {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, TCP_PORT]}
    rule = [equal(left, "@pairs"), DROP]
    for pair, expected in ((["192.168.7.33", 80], DROPPED), (["192.168.7.33", 81], PASSES)):
        pairs = named_set("pairs", [{"concat": pair}])
        assert fate(ruleset(pairs, *chain("input", rule, hook="input"))) is expected


def test_jumps_return_and_gotos_do_not() -> None:
    inner = chain("inner", [match("tcp", "dport", 22), ACCEPT])
    after = [WEB, ACCEPT]
    for word, expected in (("jump", PASSES), ("goto", DROPPED)):
        outer = chain("input", [jump("inner", word)], after, hook="input", policy="drop")
        assert fate(ruleset(*outer, *inner)) is expected
    loop = chain("input", [jump("inner")], hook="input") + chain("inner", [jump("inner")])
    assert fate(ruleset(*loop)) is UNDECIDED


def test_every_chain_of_the_way_must_let_the_packet_pass_in_the_order_of_priorities() -> None:
    early = chain("early", [HERE, ACCEPT], hook="prerouting", prio=-300, policy="drop")
    late = chain("late", [DROP], hook="input", prio=10)
    forward = chain("forward", hook="forward", policy="drop")
    found = judge(parse(ruleset(*late, *early, *forward)), REQUEST)
    assert (found.fate, found.place) == (DROPPED, "rule handle 10 of nftables chain inet fw late (input)")
    assert fate(ruleset(*early, *forward)) is PASSES
    untracked = chain("raw", [{"notrack": None}], hook="prerouting", prio=-300)
    tracked = chain("input", [state("new"), ACCEPT], hook="input", policy="drop")
    assert fate(ruleset(*untracked, *tracked)) is DROPPED


def test_only_new_connections_pass_through_nat_and_a_redirected_one_has_another_destination() -> None:
    nat = chain("nat", [HERE, WEB, {"redirect": {"port": 8080}}], hook="prerouting", prio=-100, type="nat")
    closed = chain("input", [match("tcp", "dport", 8080), ACCEPT], hook="input", policy="drop")
    assert fate(ruleset(*nat, *closed)) is PASSES
    known = msgspec.structs.replace(REQUEST, state="established")
    assert fate(ruleset(*nat, *closed), known) is DROPPED
    other = chain("input", [HERE, ACCEPT], hook="input", policy="drop")
    assert fate(ruleset(*nat, *other)) is UNDECIDED


def test_families_and_interfaces() -> None:
    assert fate(ruleset(*chain("input", [DROP], hook="input", family="ip6"))) is PASSES
    assert fate(ruleset(*chain("input", [DROP], hook="input", family="ip"))) is DROPPED
    two = msgspec.structs.replace(REQUEST, inwards=("eth0", "eth1"))
    assert fate(at_input([match("meta", "iifname", "eth1"), DROP]), two) is UNDECIDED
    ingress = {"hook": "ingress", "family": "netdev"}
    assert fate(ruleset(*chain("in", [DROP], **ingress, dev="eth0"))) is DROPPED
    assert fate(ruleset(*chain("in", [DROP], **ingress, dev="eth1"))) is PASSES
    assert fate(ruleset(*chain("in", [DROP], **ingress))) is UNDECIDED, (
        "nft 1.0.6 does not print the interface"
    )


def test_packets_that_leave() -> None:
    answer = Packet(
        version=4, protocol=TCP, source=VIP, source_port=(80, 80), destination_port=ANY_PORT,
        outwards=("eth0",), flags=SYN | ACK, state="established",
    )  # fmt: skip
    closed = {"hook": "output", "policy": "drop"}
    assert fate(ruleset(*chain("output", [ESTABLISHED, ACCEPT], **closed)), answer) is PASSES
    assert fate(ruleset(*chain("output", [state("new"), ACCEPT], **closed)), answer) is DROPPED
    assert fate(ruleset(*chain("input", hook="input", policy="drop")), answer) is PASSES


def test_an_unnamed_port_is_dropped_only_if_no_port_is_accepted() -> None:
    anything = msgspec.structs.replace(REQUEST, destination_port=ANY_PORT)
    assert fate(at_input([match("tcp", "dport", 22), ACCEPT], policy="drop"), anything) is UNDECIDED
    assert fate(at_input([match("tcp", "dport", 25), DROP]), anything) is PASSES
    assert fate(at_input(policy="drop"), anything) is DROPPED


def test_a_table_that_sleeps_does_not_count() -> None:
    table = {"table": {"family": "inet", "name": "fw", "flags": ["dormant"]}}
    assert fate(ruleset(table, *chain("input", hook="input", policy="drop"))) is PASSES


def test_a_ruleset_too_large_to_be_followed_is_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.doctor.firewall.simulation._MOST_STEPS", 5)
    rules = [[match("tcp", "dport", number), ACCEPT] for number in range(10)]
    assert fate(at_input(*rules)) is UNDECIDED


def test_the_tables_that_nft_does_not_print_completely() -> None:
    rule = [xt("multiport"), ACCEPT]
    assert opaque_tables(ruleset(*chain("INPUT", rule, family="ip", table="filter"))) == [("ip", "filter")]
    assert opaque_tables(at_input([HERE, DROP])) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": 3}'])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
