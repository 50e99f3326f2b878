# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings about a real server, from constructed facts."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from tests.support.nft_json import DROP, chain, match, ruleset

from pointsman.doctor.facts import (
    Answer,
    Answers,
    Card,
    Host,
    HostRoute,
    ListenQueue,
    RealServerFacts,
)
from pointsman.doctor.finding import Finding, Verdict
from pointsman.doctor.firewall import nftables
from pointsman.doctor.rules.realserver import examine

VIP = ipaddress.ip_address("192.168.7.33")
RIP, GATEWAY = ipaddress.ip_address("192.168.7.99"), ipaddress.ip_address("192.168.7.1")
OWN, DIRECTOR, ROUTER, OTHER = (f"02:00:00:00:00:0{number}" for number in range(4))
SILENT = {"all.arp_ignore": 1, "all.arp_announce": 2, "all.rp_filter": 0, "eth0.rp_filter": 0}

LO = Card(
    name="lo",
    arp=False,
    loopback=True,
    mtu=65536,
    addresses=(ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("192.168.7.33/32")),
)
ETH0 = Card(name="eth0", mac=OWN, addresses=(ipaddress.ip_interface("192.168.7.99/24"),))
ROUTES = (
    HostRoute(interface="eth0", network=ipaddress.ip_network("192.168.7.0/24")),
    HostRoute(interface="eth0", network=ipaddress.ip_network("0.0.0.0/0"), gateway=GATEWAY),
)
ANSWERS = {(VIP, DIRECTOR), (GATEWAY, ROUTER)}


def with_fields(card: Card, **changes: Any) -> Card:
    return Card(**({name: getattr(card, name) for name in card.__struct_fields__} | changes))


def answers(pairs: set[tuple[Any, str]], interface: str = "eth0") -> Answers:
    return Answers(
        asked=frozenset((interface, address) for address in (VIP, RIP, GATEWAY)),
        answers=tuple(Answer(interface=interface, address=address, mac=mac) for address, mac in pairs),
    )


def server(**changes: Any) -> RealServerFacts:
    """A healthy real server, but for the changes."""
    host = Host(
        name="server",
        cards=changes.pop("cards", (LO, ETH0)),
        routes=changes.pop("routes", ROUTES),
        settings=SILENT | changes.pop("settings", {}),
        ruleset=changes.pop("ruleset", ()),
    )
    fields: dict[str, Any] = {
        "vips": (VIP,),
        "ports": {VIP: (80,)},
        "listeners": frozenset({("0.0.0.0", 80)}),
        "answers": answers(ANSWERS),
    }
    return RealServerFacts(host=host, **(fields | changes))


def wrong(facts: RealServerFacts) -> list[Finding]:
    return examine(facts).having(Verdict.FAULT, Verdict.WARNING)


def only(facts: RealServerFacts) -> Finding:
    (finding,) = wrong(facts)
    return finding


def test_nothing_is_said_against_a_healthy_one() -> None:
    diagnosis = examine(server())
    assert diagnosis.ok
    assert {finding.verdict for finding in diagnosis.findings} == {Verdict.RIGHT}
    assert {finding.check for finding in diagnosis.findings} == {
        "link", "vip-on-lo", "arp-ignore", "arp-announce", "vip-unique", "mtu", "firewall", "rp-filter",
        "checksum", "gateway", "path-mtu", "neighbour-table", "clock", "listening",
    }  # fmt: skip


def test_lo_that_is_down_costs_ipv6_its_vip_and_ipv4_something_else() -> None:
    down = server(cards=(with_fields(LO, up=False), ETH0))
    assert (only(down).check, only(down).verdict, only(down).safe) == ("link", Verdict.WARNING, True)
    over_ipv6 = server(cards=(with_fields(LO, up=False), ETH0), vips=(VIP, ipaddress.ip_address("fd00::33")))
    assert ("link", Verdict.FAULT) in [(item.check, item.verdict) for item in wrong(over_ipv6)]


@pytest.mark.parametrize(("vip", "words"), [(VIP, "192.168.7.33:PORT"), ("fd00::33", "[fd00::33]:PORT")])
def test_without_a_port_it_is_said_that_no_program_was_looked_for(vip: Any, words: str) -> None:
    vip = ipaddress.ip_address(vip)
    (finding,) = [
        item for item in examine(server(vips=(vip,), ports={})).findings if item.check == "listening"
    ]
    assert finding.verdict is Verdict.UNKNOWN
    assert finding.found.endswith(f"listening programs were not checked: pointsman doctor {words}")


def test_a_missing_vip_is_set_up() -> None:
    finding = only(server(cards=(with_fields(LO, addresses=LO.addresses[:1]), ETH0)))
    assert (finding.check, finding.verdict, finding.safe) == ("vip-on-lo", Verdict.FAULT, True)
    assert finding.remedy == ("pointsman realserver up 192.168.7.33",)


def test_a_vip_with_the_prefix_of_its_network_is_taken_off_first() -> None:
    wide = with_fields(LO, addresses=(ipaddress.ip_interface("192.168.7.33/24"),))
    finding = only(server(cards=(wide, ETH0)))
    assert finding.remedy == (
        "ip address del 192.168.7.33/24 dev lo",
        "pointsman realserver up 192.168.7.33",
    )
    assert not finding.safe


def test_a_vip_on_the_card_is_taken_off_there() -> None:
    card = with_fields(ETH0, addresses=(*ETH0.addresses, ipaddress.ip_interface("192.168.7.33/24")))
    finding = only(server(cards=(with_fields(LO, addresses=()), card)))
    assert "on eth0, not on lo" in finding.found
    assert finding.remedy[0] == "ip address del 192.168.7.33/24 dev eth0"


@pytest.mark.parametrize(
    ("everywhere", "card", "right"),
    [(0, 0, False), (1, 0, True), (0, 1, True), (0, 2, True), (1, 2, True), (1, 3, False), (8, 1, False)],
)
def test_arp_ignore_is_the_maximum_of_all_and_the_interface(everywhere: int, card: int, right: bool) -> None:
    found = wrong(server(settings={"all.arp_ignore": everywhere, "eth0.arp_ignore": card}))
    assert [finding.check for finding in found] == ([] if right else ["arp-ignore"])


def test_a_host_without_the_vip_does_not_answer_for_it_yet() -> None:
    bare = with_fields(LO, addresses=LO.addresses[:1])
    found = {item.check: item for item in wrong(server(cards=(bare, ETH0), settings={"all.arp_ignore": 0}))}
    assert "will answer ARP" in found["arp-ignore"].why
    assert "is not an address of this host" in found["vip-on-lo"].found


def test_nftables_does_instead_of_both() -> None:
    loud = {"all.arp_ignore": 0, "all.arp_announce": 0}
    assert len(wrong(server(settings=loud))) == 2
    asked = [match("arp", "daddr ip", {"set": ["192.168.7.33", "192.168.7.34"]}), DROP]

    def having(family: str, hook: str) -> RealServerFacts:
        text = ruleset(*chain("c", asked, hook=hook, family=family))
        return server(settings=loud, ruleset=nftables.parse(text))

    assert wrong(having("arp", "input")) == []
    for family, hook in (("ip", "input"), ("arp", "output")):
        assert any(item.check == "arp-ignore" for item in wrong(having(family, hook)))


@pytest.mark.parametrize(("everywhere", "card", "right"), [(0, 0, False), (0, 2, True), (1, 1, False)])
def test_arp_announce_likewise(everywhere: int, card: int, right: bool) -> None:
    found = wrong(server(settings={"all.arp_announce": everywhere, "eth0.arp_announce": card}))
    assert [finding.check for finding in found] == ([] if right else ["arp-announce"])


def test_two_holders_of_the_vip() -> None:
    finding = only(server(answers=answers(ANSWERS | {(VIP, OTHER)})))
    assert (finding.check, finding.verdict) == ("vip-unique", Verdict.FAULT)
    assert DIRECTOR in finding.found
    assert OTHER in finding.found


def test_no_holder_of_the_vip_is_a_warning_here() -> None:
    finding = only(server(answers=answers({(GATEWAY, ROUTER)})))
    assert (finding.check, finding.verdict) == ("vip-unique", Verdict.WARNING)


def test_a_vip_of_another_network_cannot_be_asked_for() -> None:
    diagnosis = examine(server(answers=Answers(answers=answers(ANSWERS).answers[:0])))
    assert [finding.check for finding in diagnosis.having(Verdict.UNKNOWN)] == ["vip-unique"]


def test_someone_else_with_our_address() -> None:
    assert only(server(answers=answers(ANSWERS | {(RIP, OTHER)}))).check == "rip-unique"


def test_strict_rp_filter_matters_only_when_sources_are_routed_elsewhere() -> None:
    strict = {"eth0.rp_filter": 1}
    assert wrong(server(settings=strict)) == []
    second = Card(name="eth1", mac=OTHER, addresses=(ipaddress.ip_interface("10.0.0.2/24"),))
    routes = (*ROUTES, HostRoute(interface="eth1", network=ipaddress.ip_network("10.0.0.0/24")))
    settings = {**strict, "all.arp_ignore": 1, "eth1.rp_filter": 0}
    finding = only(server(settings=settings, cards=(LO, ETH0, second), routes=routes))
    assert (finding.check, finding.remedy) == ("rp-filter", ("sysctl -w net.ipv4.conf.eth0.rp_filter=2",))
    assert "10.0.0.0/24 (eth1)" in finding.found


@pytest.mark.parametrize(
    ("up", "value", "wrong_there"), [(True, 1, True), (True, 0, False), (False, 1, False)]
)
def test_strict_rp_filter_on_the_end_of_a_tunnel(up: bool, value: int, wrong_there: bool) -> None:
    """Clients are never routed back into it; one that only the module has made is no matter."""
    end = Card(name="tunl0", arp=False, up=up, tunnel=True)
    facts = server(cards=(LO, ETH0, end), settings={**SILENT, "tunl0.rp_filter": value})
    found = [item.remedy for item in wrong(facts)]
    assert found == ([("sysctl -w net.ipv4.conf.tunl0.rp_filter=2",)] if wrong_there else [])


def test_the_remedy_names_an_interface_with_a_dot_so_that_sysctl_finds_it() -> None:
    end = Card(name="gre0.7", arp=False, tunnel=True)
    facts = server(cards=(LO, ETH0, end), settings={**SILENT, "gre0.7.rp_filter": 1})
    assert only(facts).remedy == ("sysctl -w net/ipv4/conf/gre0.7/rp_filter=2",)


def test_loose_rp_filter_wins_over_strict_because_the_maximum_counts() -> None:
    second = Card(name="eth1", mac=OTHER, addresses=(ipaddress.ip_interface("10.0.0.2/24"),))
    routes = (*ROUTES, HostRoute(interface="eth1", network=ipaddress.ip_network("10.0.0.0/24")))
    settings = {"all.rp_filter": 2, "eth0.rp_filter": 1}
    assert wrong(server(settings=settings, cards=(LO, ETH0, second), routes=routes)) == []


def test_the_gateway_must_be_there_and_not_be_the_director() -> None:
    assert "does not answer ARP" in only(server(answers=answers({(VIP, DIRECTOR)}))).found
    finding = only(server(answers=answers({(VIP, DIRECTOR), (GATEWAY, DIRECTOR)})))
    assert (finding.check, finding.verdict) == ("gateway", Verdict.WARNING)


def test_a_small_mtu_is_a_warning_with_its_remedy() -> None:
    finding = only(server(cards=(LO, with_fields(ETH0, mtu=1400))))
    assert (finding.verdict, finding.remedy) == (Verdict.WARNING, ("ip link set eth0 mtu 1500",))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"up": False, "running": False}, ("ip link set eth0 up",)),
        ({"running": False}, ()),
        ({"arp": False}, ("ip link set eth0 arp on",)),
    ],
)
def test_a_link_that_is_not_usable(change: dict[str, bool], remedy: tuple[str, ...]) -> None:
    found = [item for item in wrong(server(cards=(LO, with_fields(ETH0, **change)))) if item.check == "link"]
    assert [finding.remedy for finding in found] == [remedy]


@pytest.mark.parametrize(
    ("bound", "right"),
    [("0.0.0.0", True), ("::", True), ("192.168.7.33", True), ("192.168.7.99", False), ("127.0.0.1", False)],
)
def test_a_program_must_listen_at_the_vip_or_everywhere(bound: str, right: bool) -> None:
    found = wrong(server(ports={VIP: (80,)}, listeners=frozenset({(bound, 80), ("0.0.0.0", 22)})))
    assert [finding.check for finding in found] == ([] if right else ["listening"])


def test_a_program_that_does_not_accept_is_a_fault() -> None:
    queue = ListenQueue("0.0.0.0", 80, 6, 5)
    finding = only(server(full_listen_queues=(queue,), fresh_listen_overflows=3))
    assert (finding.check, finding.verdict) == ("listening", Verdict.FAULT)
    assert "6 connections waiting, room for 5" in finding.found
    assert wrong(server(full_listen_queues=(queue._replace(port=81),))) == []
    slow = only(server(fresh_listen_overflows=3))
    assert (slow.check, slow.verdict) == ("listening", Verdict.WARNING)


def test_wrong_checksums_count_when_they_come_now() -> None:
    assert wrong(server(segments_in=10_000, bad_checksums=100)) == [], "since boot: perhaps mended long ago"
    now = only(server(segments_in=10_000, bad_checksums=100, fresh_bad_checksums=3))
    assert now.check == "checksum"
    assert "ethtool -K INTERFACE tx off" in now.advice
