# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings about the firewalls of real servers and directors."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from tests.support.nft_json import ACCEPT, DROP, at_input, chain, match, ruleset, state, xt

from pointsman.doctor.facts import (
    Card,
    DirectorFacts,
    Host,
    HostRoute,
    InstanceFact,
    RealServerFacts,
    SeenAdvert,
    ServerFact,
    ServiceFact,
    System,
    VirtualFact,
)
from pointsman.doctor.finding import Finding, Verdict
from pointsman.doctor.firewall import iptables, nftables
from pointsman.doctor.rules import firewall

VIP = ipaddress.ip_address("192.168.7.33")
VIP6 = ipaddress.ip_address("fd00::33")
OWN, PEER, WEB = map(ipaddress.ip_address, ("192.168.7.10", "192.168.7.11", "192.168.7.20"))
ETH0 = Card(name="eth0", mac="02:00:00:00:00:01", addresses=(ipaddress.ip_interface("192.168.7.10/24"),))
SETTLED = state("established", "related")
HERE = match("ip", "daddr", "192.168.7.33")
CLOSED = at_input(policy="drop")


def host(text: str = "", chains: Any = (), **changes: Any) -> Host:
    routes = (HostRoute(interface="eth0", network=ipaddress.ip_network("192.168.7.0/24")),)
    read = nftables.parse(text) if text else ()
    return Host(name="a", cards=(ETH0,), routes=routes, ruleset=(*read, *chains), **changes)


def server(text: str = "", *ports: int, chains: Any = (), vip: Any = VIP, **changes: Any) -> list[Finding]:
    facts = RealServerFacts(host=host(text, chains, **changes), vips=(vip,), ports={vip: ports})
    return list(firewall.judge_flows(facts.host, firewall.requests(facts), "fine"))


def director(text: str = "", **changes: Any) -> list[Finding]:
    virtual = (VirtualFact(address=VIP, prefix_length=24, device="eth0"),)
    one = InstanceFact(
        name="VI_1",
        state="BACKUP",
        interface="eth0",
        virtual_router_id=51,
        virtual=virtual,
        peers=changes.pop("peers", ()),
        protocol=changes.pop("protocol", 112),
    )
    server_ = ServerFact(address=WEB, port=80, up=changes.pop("up", True))
    service = ServiceFact(name="s", option="", address=VIP, port=80, tcp=True, servers=(server_,))
    facts = DirectorFacts(
        host=host(text), services=(service,), instances=changes.pop("instances", (one,)), **changes
    )
    return list(firewall.judge_flows(facts.host, firewall.of_director(facts), "fine"))


def verdicts(findings: list[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


FAULT, UNKNOWN, RIGHT = Verdict.FAULT, Verdict.UNKNOWN, Verdict.RIGHT


def test_a_default_deny_firewall_on_a_real_server() -> None:
    (found,) = server(CLOSED, 80)
    assert (found.verdict, found.check) == (FAULT, "firewall")
    assert found.found == (
        "the policy of nftables chain inet fw input (input) drops requests for 192.168.7.33:80"
    )
    assert found.remedy == ("nft insert rule inet fw input ip daddr 192.168.7.33 tcp dport 80 accept",)
    assert verdicts(server(at_input([match("tcp", "dport", 80), ACCEPT], policy="drop"), 80)) == [RIGHT]
    assert verdicts(server(at_input([SETTLED, ACCEPT], policy="drop"), 80)) == [FAULT]


@pytest.mark.parametrize(
    ("rules", "ports", "dropped", "limit"),
    [
        ([HERE, ACCEPT], (80,), "192.168.7.10:80", " tcp dport 80"),
        ([HERE, ACCEPT], (), "192.168.7.10", ""),
        ([match("tcp", "dport", 80), ACCEPT], (80,), "", ""),
        ([match("ip", "saddr", "192.168.7.11"), ACCEPT], (80,), "", ""),
    ],
    ids=["the-vip", "no-port", "the-port", "the-director"],
)
def test_a_firewall_that_accepts_clients_and_drops_health_checks(
    rules: list[Any], ports: tuple[int, ...], dropped: str, limit: str
) -> None:
    facts = RealServerFacts(
        host=host(at_input(rules, policy="drop")), vips=(VIP,), ports={VIP: ports} if ports else {}
    )
    found = list(firewall.health_checks(facts))
    if not dropped:
        assert found == []
        return
    place = "the policy of nftables chain inet fw input (input)"
    assert [each.found for each in found] == [f"{place} drops health checks of {dropped}"]
    assert found[0].verdict is Verdict.WARNING
    assert found[0].remedy == (f"nft insert rule inet fw input ip daddr 192.168.7.10{limit} accept",)


@pytest.mark.parametrize("tool", ["iptables-legacy", "iptables-nft"])
def test_the_policy_of_iptables(tool: str) -> None:
    (found,) = server("", 80, chains=iptables.parse("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", tool))
    assert found.verdict is FAULT
    assert found.remedy == (f"{tool} -t filter -I INPUT -d 192.168.7.33 -p tcp --dport 80 -j ACCEPT",)


def test_answers_have_to_leave() -> None:
    (found,) = server(ruleset(*chain("output", hook="output", policy="drop")), 80)
    assert (found.verdict, "answers from 192.168.7.33:80" in found.found) == (FAULT, True)


@pytest.mark.parametrize(
    ("steps", "remedy"),
    [
        ([HERE, DROP], "nft delete rule inet fw input handle 10"),
        ([match("tcp", "dport", 80), DROP], "nft delete rule inet fw input handle 10"),
        ([DROP], "nft insert rule inet fw input ip daddr 192.168.7.33 tcp dport 80 accept"),
        (
            [match("meta", "l4proto", "tcp"), {"reject": None}],
            "nft insert rule inet fw input ip daddr 192.168.7.33 tcp dport 80 accept",
        ),
    ],
)
def test_only_a_special_rule_is_deleted_because_others_protect_the_host(steps: Any, remedy: str) -> None:
    (found,) = server(at_input(steps), 80)
    assert found.remedy == (remedy,)


def test_a_rule_in_a_chain_that_is_called_is_named_and_the_remedy_is_before_the_call() -> None:
    text = ruleset(*chain("input", [{"jump": {"target": "deny"}}], hook="input"), *chain("deny", [DROP]))
    (found,) = server(text, 80)
    assert "rule handle 10 of nftables chain inet fw deny drops" in found.found
    assert found.remedy[0].startswith("nft insert rule inet fw input ")


def test_what_is_not_decided_is_said_with_its_place() -> None:
    text = at_input([match("tcp", "dport", 22), ACCEPT], policy="drop")
    (found,) = server(text)
    assert found.verdict is UNKNOWN
    assert found.found == (
        "it is not decided if requests for 192.168.7.33 pass this host's firewall: it depends on rule "
        "handle 10 of nftables chain inet fw input (input); name the port: pointsman doctor 192.168.7.33:PORT"
    )
    assert verdicts(server(text, 22)) == [RIGHT]
    assert verdicts(server(text, 80)) == [FAULT]
    assert verdicts(server(CLOSED)) == [FAULT]


def test_ipv6() -> None:
    (found,) = server(CLOSED, 80, vip=VIP6)
    assert found.remedy == ("nft insert rule inet fw input ip6 daddr fd00::33 tcp dport 80 accept",)
    assert verdicts(server(at_input(policy="drop", family="ip"), 80, vip=VIP6)) == [RIGHT]


def test_a_firewall_that_could_be_read_in_part_is_told_in_full() -> None:
    assert verdicts(server(CLOSED, 80, rules_problem="nft is not installed")) == [UNKNOWN, FAULT]
    assert verdicts(server("", 80, rules_problem="nft is not installed")) == [UNKNOWN]


def test_a_default_deny_firewall_on_a_director() -> None:
    found = director(CLOSED)
    assert verdicts(found) == [FAULT, FAULT]
    assert "VRRP adverts for VI_1" in found[0].found
    assert found[0].remedy == ("nft insert rule inet fw input meta l4proto 112 accept",)
    assert "the answers to health checks of 192.168.7.20:80" in found[1].found
    assert ["VRRP" in item.found for item in director(at_input([SETTLED, ACCEPT], policy="drop"))] == [True]
    assert verdicts(
        director(at_input([SETTLED, ACCEPT], [match("ip", "protocol", "vrrp"), ACCEPT], policy="drop"))
    ) == [RIGHT]
    assert verdicts(director(CLOSED, instances=(), up=None)) == [RIGHT]


def test_adverts_with_an_authentication_header_are_of_another_protocol() -> None:
    found = director(CLOSED, protocol=51)
    assert found[0].remedy == ("nft insert rule inet fw input meta l4proto 51 accept",)
    for name, protocol in (("vrrp", 112), ("ah", 51)):
        open_to = at_input([SETTLED, ACCEPT], [match("ip", "protocol", name), ACCEPT], policy="drop")
        assert verdicts(director(open_to, protocol=protocol)) == [RIGHT]
        assert verdicts(director(open_to, protocol=163 - protocol)) == [FAULT]


def test_a_rule_for_the_other_director() -> None:
    text = at_input([SETTLED, ACCEPT], [match("ip", "saddr", str(PEER)), ACCEPT], policy="drop")
    assert verdicts(director(text, peers=(PEER,))) == [RIGHT]
    assert verdicts(director(text)) == [UNKNOWN], "who sends the adverts is not known"
    heard = SeenAdvert(interface="eth0", source=PEER, virtual_router_id=51, priority=100)
    assert verdicts(director(text, adverts=(heard,))) == [RIGHT]
    assert verdicts(director(text, peers=(WEB,))) == [FAULT]


def test_what_a_director_sends() -> None:
    text = ruleset(*chain("output", [match("meta", "l4proto", "tcp"), ACCEPT], hook="output", policy="drop"))
    (found,) = director(text)
    assert "VRRP adverts of VI_1 to others" in found.found
    text = ruleset(*chain("output", [match("ip", "daddr", str(WEB)), DROP], hook="output"))
    (found,) = director(text)
    assert "drops health checks of 192.168.7.20:80" in found.found


@pytest.mark.parametrize("order", [1, -1])
def test_over_ipv6_adverts_have_the_link_local_source_and_checks_the_other(order: int) -> None:
    addresses = tuple(map(ipaddress.ip_interface, ("fd00::10/64", "fe80::10/64")))[::order]
    card = Card(name="eth0", mac="02:00:00:00:00:01", addresses=addresses)
    web = ServerFact(address=ipaddress.ip_address("fd00::20"), port=80, up=True)
    facts = DirectorFacts(
        host=Host(name="a", cards=(card,)),
        instances=(
            InstanceFact(
                name="VI_6",
                state="MASTER",
                interface="eth0",
                virtual=(VirtualFact(address=VIP6, prefix_length=64, device="eth0"),),
            ),
        ),
        services=(ServiceFact(name="s", option="", address=VIP6, port=80, tcp=True, servers=(web,)),),
    )
    sources = {flow.what: str(flow.packet.source) for flow in firewall.of_director(facts)}
    assert sources["VRRP adverts of VI_6 to others"] == "fe80::10"
    assert sources["health checks of [fd00::20]:80"] == "fd00::10"


def test_bfd() -> None:
    text = at_input([SETTLED, ACCEPT], [match("ip", "protocol", "vrrp"), ACCEPT], policy="drop")
    (found,) = director(text, bfd_neighbours=(PEER,))
    assert f"BFD from {PEER}" in found.found
    assert found.remedy == ("nft insert rule inet fw input udp dport 3784 accept",)


ICMP = match("ip", "protocol", "icmp")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([[ICMP, DROP]], Verdict.WARNING),
        ([[match("icmp", "type", "destination-unreachable"), DROP]], Verdict.WARNING),
        ([[match("icmp", "type", "echo-request"), DROP]], RIGHT),
        ([[match("ip", "protocol", "tcp"), DROP]], RIGHT),
        ([[SETTLED, ACCEPT], [ICMP, DROP]], RIGHT),
        ([[state("established"), ACCEPT], [ICMP, DROP]], Verdict.WARNING),
        ([[match("icmp", "type", {"set": ["destination-unreachable", 8]}), ACCEPT], [ICMP, DROP]], RIGHT),
        ([[ICMP, ACCEPT], [ICMP, DROP]], RIGHT),
        ([[xt("u32"), DROP]], UNKNOWN),
    ],
)
def test_messages_about_the_mtu(rules: Any, expected: Verdict) -> None:
    facts = RealServerFacts(host=host(at_input(*rules)), vips=(VIP,))
    (found,) = firewall.path_mtu(facts)
    assert found.verdict is expected


def test_the_remedy_lets_only_these_messages_in() -> None:
    facts = RealServerFacts(host=host(CLOSED, system=System(mtu_probing=1)), vips=(VIP6,))
    (found,) = firewall.path_mtu(facts)
    assert found.remedy == ("nft insert rule inet fw input icmpv6 type packet-too-big accept",)
    assert "tcp_mtu_probing" not in found.advice
