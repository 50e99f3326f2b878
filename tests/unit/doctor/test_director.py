# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings about a director, from constructed facts."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest

from pointsman.control.status import DroppedStatus
from pointsman.doctor.facts import (
    Answer,
    Answers,
    Card,
    DirectorFacts,
    Echo,
    Host,
    HostRoute,
    InstanceFact,
    Neighbour,
    Pins,
    Response,
    SeenAdvert,
    ServerFact,
    ServiceFact,
    VirtualFact,
)
from pointsman.doctor.finding import Finding, Verdict
from pointsman.doctor.rules.director import examine
from pointsman.net.other_balancers import OtherBalancer

VIP = ipaddress.ip_address("192.168.100.9")
WEB = ipaddress.ip_address("192.168.100.20")
PEER = ipaddress.ip_address("192.168.100.11")
GATEWAY = ipaddress.ip_address("192.168.100.1")
OWN, WEB_MAC, PEER_MAC, ROUTER = (f"02:00:00:00:00:0{number}" for number in range(4))
NAME = f"TCP {VIP}:80"

ETH0 = Card(
    name="eth0",
    mac=OWN,
    xdp=True,
    addresses=(ipaddress.ip_interface("192.168.100.10/24"), ipaddress.ip_interface("192.168.100.9/24")),
)
BACKUP_ETH0 = Card(name="eth0", mac=OWN, xdp=True, addresses=ETH0.addresses[:1])
ROUTES = (
    HostRoute(interface="eth0", network=ipaddress.ip_network("192.168.100.0/24")),
    HostRoute(interface="eth0", network=ipaddress.ip_network("0.0.0.0/0"), gateway=GATEWAY),
)
INSTANCE: dict[str, Any] = {
    "name": "VI_1",
    "state": "MASTER",
    "interface": "eth0",
    "virtual_router_id": 51,
    "peers": (PEER,),
    "virtual": (VirtualFact(address=VIP, prefix_length=24, device="eth0"),),
}
SERVICE: dict[str, Any] = {
    "name": NAME,
    "option": f"-t {VIP}:80",
    "address": VIP,
    "port": 80,
    "tcp": True,
    "servers": (ServerFact(address=WEB, port=80),),
}


def with_address(card: Card, address: str) -> Card:
    return msgspec.structs.replace(card, addresses=(*card.addresses, ipaddress.ip_interface(address)))


def answers(*more: tuple[Any, str], without: Any = None) -> Answers:
    pairs = [pair for pair in ((WEB, WEB_MAC), (GATEWAY, ROUTER)) if pair[0] != without]
    return Answers(
        asked=frozenset(("eth0", address) for address in (VIP, WEB, GATEWAY)),
        answers=tuple(Answer(interface="eth0", address=address, mac=mac) for address, mac in [*pairs, *more]),
    )


def director(**changes: Any) -> DirectorFacts:
    """A healthy master, but for the changes."""
    host: dict[str, Any] = {"name": "lb", "cards": (ETH0,), "routes": ROUTES}
    host |= {name: changes.pop(name) for name in list(changes) if name in Host.__struct_fields__}
    fields: dict[str, Any] = {
        "services": (ServiceFact(**(SERVICE | changes.pop("service", {}))),),
        "instances": (InstanceFact(**(INSTANCE | changes.pop("instance", {}))),),
        "attachments": {"eth0": ("native", "")},
        "connections": 10,
        "connection_limit": 1000,
        "answers": answers(),
        "responses": {(NAME, WEB): Response.ACCEPTED},
        "echoes": {WEB: Echo(size=1500, small=True, large=True)},
    }
    return DirectorFacts(host=Host(**host), **(fields | changes))


def backup(**changes: Any) -> DirectorFacts:
    fields: dict[str, Any] = {
        "cards": (BACKUP_ETH0,),
        "instance": {"state": "BACKUP"},
        "answers": answers((VIP, PEER_MAC)),
        "adverts": (advert(PEER),),
    }
    return director(**(fields | changes))


def advert(source: Any, priority: int = 100, router: int = 51) -> SeenAdvert:
    return SeenAdvert(interface="eth0", source=source, virtual_router_id=router, priority=priority)


def wrong(facts: DirectorFacts) -> list[Finding]:
    return examine(facts).having(Verdict.FAULT, Verdict.WARNING)


def only(facts: DirectorFacts) -> Finding:
    (finding,) = wrong(facts)
    return finding


@pytest.mark.parametrize(
    "facts", [director(), backup(), director(instances=())], ids=["master", "backup", "hand"]
)
def test_nothing_is_said_against_a_healthy_one(facts: DirectorFacts) -> None:
    diagnosis = examine(facts)
    assert diagnosis.ok
    assert {finding.verdict for finding in diagnosis.findings} == {Verdict.RIGHT}


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("connection refused by 192.168.100.20:80", "start the program that listens at 192.168.100.20:80"),
        ("connect timeout after 3.0 s from 192.168.100.10", "pointsman doctor 192.168.100.9:80; it is the"),
        ("HTTP status code 500", "look into the log of the program that listens at 192.168.100.20:80"),
    ],
)
def test_a_failed_check_is_advised_by_its_reason(reason: str, advice: str) -> None:
    dead = ServerFact(address=WEB, port=80, weight=None, up=False, reason=reason)
    other = ServerFact(address=PEER, port=80, up=True)
    (alone,) = [each for each in wrong(director(service={"servers": (dead,)})) if each.check == "health"]
    assert alone.advice.startswith(f"on {WEB}: {advice}")
    assert alone.why == "it is out of the table and gets no connection"
    (one,) = [each for each in wrong(director(service={"servers": (dead, other)})) if each.check == "health"]
    assert one.why == "it is out of the table, and the other real servers get its load"


def test_a_service_without_servers_by_hand_is_released() -> None:
    down = ServerFact(address=WEB, port=80, weight=None, up=True, by_hand="down")
    (found,) = [each for each in wrong(director(service={"servers": (down,)})) if each.check == "service"]
    assert found.found == f"no real server of {NAME} is in use, 1 of 1 by hand"
    assert found.remedy == ("pointsman release 192.168.100.20:80",)


def test_the_cause_of_a_second_master_comes_first() -> None:
    dropped = DroppedStatus(str(PEER), "password", "received an invalid password", 1, seconds=0.0)
    facts = director(
        instance={"dropped": (dropped,)}, answers=answers((VIP, PEER_MAC)), adverts=(advert(PEER),)
    )
    assert [each.check for each in wrong(facts)] == ["adverts-dropped", "one-master", "vip-unique"]


def test_a_director_that_does_not_run_is_the_only_finding() -> None:
    finding = only(director(problem="no director is running here"))
    assert (finding.check, finding.verdict) == ("director", Verdict.FAULT)
    assert "still forward packets" in only(director(problem="no director", left_in_force=True)).found


def test_the_program_has_gone_from_an_interface() -> None:
    bare = Card(name="eth0", mac=OWN, addresses=ETH0.addresses)
    assert only(director(cards=(bare,))).check == "program"
    assert wrong(director(cards=(bare,), attachments={"eth0": ("tc", "")})) == []


def test_a_service_without_anyone_to_serve_it() -> None:
    assert only(director(service={"servers": ()}, responses={}, echoes={})).check == "service"
    quiesced = (ServerFact(address=WEB, port=80, weight=0),)
    finding = only(director(service={"servers": quiesced, "managed": False}))
    assert finding.remedy == (f"pointsman ipvsadm -e -t {VIP}:80 -r {WEB}:80 -g -w 1",)


def test_a_failed_check_is_told_with_its_reason() -> None:
    servers = (
        ServerFact(address=WEB, port=80, up=False, weight=None, reason="connection refused"),
        ServerFact(address=WEB, port=80, up=True),
    )
    finding = only(director(service={"servers": servers}))
    assert finding.check == "health"
    assert "connection refused" in finding.found


def test_a_real_server_with_another_port() -> None:
    servers = (ServerFact(address=WEB, port=8080),)
    finding = only(director(service={"servers": servers, "managed": False}))
    assert finding.check == "port"
    assert finding.remedy == (
        f"pointsman ipvsadm -a -t {VIP}:80 -r {WEB}:80 -g -w 1",
        f"pointsman ipvsadm -d -t {VIP}:80 -r {WEB}:8080",
    )
    assert only(director(service={"servers": servers})).remedy == ()
    assert wrong(director(service={"servers": servers, "port": 0})) == []


def test_a_real_server_behind_a_router() -> None:
    far = ipaddress.ip_address("203.0.113.5")
    facts = director(service={"servers": (ServerFact(address=far, port=80),)}, responses={}, echoes={})
    finding = only(facts)
    assert (finding.check, finding.found) == ("on-link", f"{far} is behind the gateway {GATEWAY}")


def test_the_neighbour_table_against_the_wire() -> None:
    known = Neighbour(interface="eth0", address=WEB, mac=ROUTER, permanent=True)
    finding = only(director(neighbours=(known,)))
    assert (finding.check, finding.remedy, finding.safe) == ("mac", (f"ip neigh del {WEB} dev eth0",), True)
    right = Neighbour(interface="eth0", address=WEB, mac=WEB_MAC)
    assert wrong(director(neighbours=(right,))) == []


def test_a_real_server_that_does_not_answer_arp_or_is_two_hosts() -> None:
    assert "does not answer ARP" in only(director(answers=answers(without=WEB))).found
    assert only(director(answers=answers((WEB, PEER_MAC)))).check == "rip-unique"


def test_a_router_that_answers_for_the_real_server() -> None:
    assert only(director(answers=answers((WEB, ROUTER), without=WEB))).check == "mac"


@pytest.mark.parametrize("response", [Response.REFUSED, Response.SILENT])
def test_a_syn_for_the_vip_must_be_accepted(response: Response) -> None:
    finding = only(director(responses={(NAME, WEB): response}))
    assert (finding.check, finding.verdict) == ("delivery", Verdict.FAULT)
    assert ("refuses" in finding.found) is (response is Response.REFUSED)


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [(True, True, Verdict.RIGHT), (True, False, Verdict.FAULT), (False, False, Verdict.UNKNOWN)],
)
def test_long_packets_must_arrive_where_short_ones_do(small: bool, large: bool, verdict: Verdict) -> None:
    echoes = {WEB: Echo(size=1500, small=small, large=large)}
    (finding,) = [item for item in examine(director(echoes=echoes)).findings if item.check == "mtu"]
    assert finding.verdict is verdict


def test_the_vip_has_exactly_one_holder() -> None:
    finding = only(director(answers=answers((VIP, WEB_MAC))))
    assert finding.check == "vip-unique"
    assert f"real server {WEB}" in finding.found
    assert only(backup(answers=answers((VIP, PEER_MAC), (VIP, WEB_MAC)))).check == "vip-unique"
    assert only(backup(answers=answers())).verdict is Verdict.WARNING


def test_a_tun_has_no_arp_that_could_be_set_and_ethernet_without_arp_is_a_fault() -> None:
    attached = {"eth0": ("native", ""), "other": ("tc", "")}
    for mac, expected in (("", []), (OWN, ["ip link set other arp on"])):
        other = Card(name="other", mac=mac, arp=False)
        found = wrong(director(cards=(ETH0, other), attachments=attached))
        assert [line for each in found for line in each.remedy if " arp " in line] == expected
        assert any("NOARP" in each.found for each in found) is bool(mac)


def test_a_second_interface_that_answers_for_the_vip_is_named_with_its_remedy() -> None:
    second = Card(name="eth1.7", mac=PEER_MAC)
    both = {"cards": (ETH0, second), "answers": answers((VIP, PEER_MAC), (VIP, OWN))}
    finding = only(director(**both))
    assert finding.found.startswith(f"eth1.7 answers ARP for {VIP} too")
    assert finding.remedy == ("sysctl -w net/ipv4/conf/eth1.7/arp_ignore=1",)
    assert wrong(director(**both, attachments={"eth0": ("tc", ""), "eth1.7": ("tc", "")})) == []


def test_a_master_bears_its_addresses_and_a_backup_does_not() -> None:
    lacking = wrong(director(cards=(BACKUP_ETH0,)))
    assert [(item.check, item.verdict) for item in lacking] == [
        ("vip-held", Verdict.FAULT),
        ("vip-unique", Verdict.WARNING),
    ]
    assert lacking[0].remedy == (f"ip address add {VIP}/24 dev eth0",)
    having = wrong(backup(cards=(ETH0,)))
    assert having[0].remedy == (f"ip address del {VIP}/24 dev eth0",)


def test_a_second_master_is_heard() -> None:
    assert only(director(adverts=(advert(PEER),))).check == "one-master"
    assert wrong(director(adverts=(advert(PEER, priority=0),))) == []
    assert wrong(director(adverts=(advert(PEER, router=52),))) == []


@pytest.mark.parametrize(("state", "verdict"), [("MASTER", Verdict.FAULT), ("BACKUP", Verdict.WARNING)])
def test_adverts_that_are_dropped_now_are_told_with_what_was_expected(state: str, verdict: Verdict) -> None:
    text = "virtual_router_id 52, expecting 51"
    fields: dict[str, Any] = {"sender": str(PEER), "reason": "virtual_router_id", "text": text, "count": 7}
    made = {"MASTER": director, "BACKUP": backup}[state]
    found = only(made(instance={"state": state, "dropped": (DroppedStatus(**fields, seconds=1.0),)}))
    assert (found.check, found.verdict) == ("adverts-dropped", verdict)
    assert found.found == f"VI_1 has dropped 7 adverts of {PEER}: {text}"
    assert found.advice == "give the instance the same virtual_router_id on both"
    assert wrong(made(instance={"state": state, "dropped": (DroppedStatus(**fields, seconds=60.0),)})) == []


def test_a_backup_must_hear_its_master() -> None:
    assert only(backup(adverts=())).check == "one-master"


def test_a_stranger_with_our_router_id() -> None:
    stranger = ipaddress.ip_address("192.168.100.77")
    assert only(director(adverts=(advert(stranger),))).check == "vrid-unique"
    assert wrong(director(adverts=(advert(ipaddress.ip_address("192.168.100.10")),))) == []


def test_a_backup_with_a_stray_vip_is_not_told_to_announce_it() -> None:
    found = wrong(backup(cards=(ETH0,), answers=answers((VIP, PEER_MAC))))
    assert [item.check for item in found] == ["vip-held", "vip-unique"]
    assert "arping" not in found[1].advice
    both = wrong(director(answers=answers((VIP, PEER_MAC))))
    assert "arping -U" in both[0].advice


def test_an_empty_table() -> None:
    (found,) = wrong(director(services=(), instances=(), responses={}))
    assert (found.check, found.verdict) == ("service", Verdict.WARNING)
    alone = examine(director(services=(), responses={}))
    assert [item.check for item in alone.having(Verdict.UNKNOWN)] == ["service"], "right for VRRP alone"
    assert not examine(director(services=(), standby=("s",), responses={})).having(
        Verdict.UNKNOWN, Verdict.WARNING
    )


@pytest.mark.parametrize(
    ("pins", "verdict"),
    [(Pins.HOST, Verdict.RIGHT), (Pins.KEPT, Verdict.NOTE), (Pins.FLEETING, Verdict.WARNING)],
)
def test_pins_that_end_with_the_director(pins: Pins, verdict: Verdict) -> None:
    found = [item for item in examine(director(pins=pins)).findings if item.check == "pins"]
    assert [item.verdict for item in found] == [verdict]


def test_a_vip_that_is_the_source_towards_real_servers() -> None:
    found = only(director(sources={WEB: VIP}))
    assert (found.check, found.remedy, "an address of its own" in found.advice) == ("source", (), True)
    vip6, web6 = ipaddress.ip_address("fd00::9"), ipaddress.ip_address("fd00::20")
    card = with_address(ETH0, "fd00::9/64")
    service = {"name": "s", "address": vip6, "servers": (ServerFact(address=web6, port=80),)}
    found6 = [
        item.remedy
        for item in wrong(director(cards=(card,), service=service, responses={}, sources={web6: vip6}))
        if item.check == "source"
    ]
    assert found6 == [("ip address change fd00::9/64 dev eth0 preferred_lft 0",)]
    assert wrong(director(sources={WEB: ipaddress.ip_address("192.168.100.10")})) == []


def test_another_load_balancer_on_this_host() -> None:
    other = OtherBalancer(found="keepalived runs", why="both take the VIPs", remedy=("systemctl stop it",))
    found = only(director(other_balancers=(other,)))
    assert (found.check, found.remedy) == ("other-balancer", ("systemctl stop it",))
    instead = DirectorFacts(host=Host(name="a", other_balancers=(other,)), problem="no director runs")
    assert [item.check for item in wrong(instead)] == ["director", "other-balancer"]


def test_an_instance_in_fault_tells_why() -> None:
    found = wrong(backup(instance={"state": "FAULT", "reason": "eth0 is down"}))
    assert [item.check for item in found] == ["vrrp"]
    assert "eth0 is down" in found[0].found


@pytest.mark.parametrize(("connections", "check"), [(899, []), (900, ["connection-table"])])
def test_a_connection_table_that_is_nearly_full(connections: int, check: list[str]) -> None:
    assert [item.check for item in wrong(director(connections=connections))] == check


def test_a_connection_table_with_more_connections_than_it_is_made_for() -> None:
    """It has room for twice as many: `2000 of 1000` would be hard to believe."""
    found = only(director(connections=2000, connection_limit=1000)).found
    assert found == "the connection table has 2000 connections, and is made for 1000"
    found = only(director(connections=1000, connection_limit=1000)).found
    assert found == "the connection table is nearly full: 1000 of 1000 connections"


def test_a_neighbour_table_that_is_nearly_full() -> None:
    entries = tuple(
        Neighbour(interface="eth0", address=ipaddress.ip_address(number), mac="") for number in range(95)
    )
    assert wrong(director(neighbours=entries, neighbour_limit=1000)) == []
    assert only(director(neighbours=entries, neighbour_limit=100)).check == "neighbour-table"


def test_what_the_data_plane_refused() -> None:
    assert only(director(problems=("cannot -A -t 192.0.2.1:80: no such scheduler",))).check == "data-plane"


def test_a_table_that_is_not_the_configured_one() -> None:
    problem = "the table differs from the configuration: service X is missing; fix: pointsman reload"
    found = only(director(problems=(problem,)))
    assert (found.check, found.remedy) == ("table", ("pointsman reload",))


@pytest.mark.parametrize(
    ("problem", "fix"),
    [
        (
            "eth0 has generic XDP: segments that GRO joins are too long to leave by eth1, and uploads hang",
            ["ethtool -K eth0 gro off"],
        ),
        ("interface eth9 is not there: no packets are taken from it until it is", []),
        ("no packets are taken from eth9, which has come meanwhile: another XDP program is attached", []),
    ],
)
def test_an_interface_from_which_not_all_packets_are_forwarded(problem: str, fix: list[str]) -> None:
    found = only(director(problems=("; fix: ".join([problem, *fix]),)))
    assert (found.check, found.found, list(found.remedy)) == ("interface", problem, fix)


def test_a_process_without_a_sign_of_life() -> None:
    problem = "no sign of life from the process pm-checker for 12 s: what it has reported is as old as that"
    found = only(director(problems=(problem,)))
    assert (found.check, found.found) == ("processes", problem)


def test_an_instance_whose_state_is_unknown() -> None:
    silent = {"state": "UNKNOWN", "reason": "MASTER before; no sign of life from the process pm-vrrp for 3 s"}
    found = only(director(instance=silent))
    assert found.check == "vrrp" and "is unknown: MASTER before" in found.found


def with_virtual_mac(**settings: int) -> DirectorFacts:
    virtual = Card(name="vrrp.51", mac="00:00:5e:00:01:33", lower="eth0", addresses=ETH0.addresses[1:])
    return director(cards=(BACKUP_ETH0, virtual), settings={"all.arp_ignore": 0} | settings)


def test_an_interface_below_a_virtual_mac_leaves_arp_to_it() -> None:
    finding = only(with_virtual_mac(**{"eth0.arp_ignore": 0}))
    assert finding.check == "vmac"
    assert finding.found == (
        f"{VIP} is on vrrp.51 (00:00:5e:00:01:33), and eth0 below it answers ARP too ({OWN})"
    )
    assert (finding.safe, finding.remedy) == (True, ("sysctl -w net.ipv4.conf.eth0.arp_ignore=1",))
    assert wrong(with_virtual_mac(**{"eth0.arp_ignore": 1})) == []
    vlan = Card(name="eth0.100", mac=OWN, xdp=True, addresses=ETH0.addresses[:1])
    virtual = Card(name="vrrp.51", mac=PEER_MAC, lower="eth0.100", addresses=ETH0.addresses[1:])
    found = only(director(cards=(vlan, virtual), attachments={"eth0.100": ("native", "")}))
    assert found.remedy == ("sysctl -w net/ipv4/conf/eth0.100/arp_ignore=1",)
    assert wrong(with_virtual_mac(**{"eth0.arp_ignore": 0, "all.arp_ignore": 2})) == []
