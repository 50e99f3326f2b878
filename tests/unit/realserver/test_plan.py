# SPDX-License-Identifier: Apache-2.0
"""Which settings, on which interfaces, refused when: on facts written by hand."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.realserver import plan
from pointsman.realserver.facts import (
    ArpKey,
    Facts,
    HostAddress,
    Interface,
    Route,
    SetupError,
    parse_vip,
)
from pointsman.realserver.setup import choose_interfaces
from pointsman.realserver.state import Change, State
from pointsman.realserver.status import build_report

VIP = ipaddress.ip_address("192.168.7.33")
INTERFACES = (
    Interface("lo", arp=False),
    Interface("eth14"),
    Interface("eth12"),
    Interface("tun0", arp=False),
)


def route(interface: str, network: str, *, on_link: bool = True) -> Route:
    return Route(interface, ipaddress.ip_network(network), on_link)


def no_file(_key: ArpKey, _value: int) -> None:
    """Nothing sets it at boot."""


def file_of_lo(key: ArpKey, _value: int) -> str | None:
    return "/etc/sysctl.d/x" if key.interface == "lo" else None


def arp(**values: int) -> dict[ArpKey, int]:
    """`eth14_ignore=1`: everything else is 0."""
    found = {
        ArpKey(place, name): 0 for place in ("all", "lo", "eth14", "eth12", "tun0") for name in plan.WANTED
    }
    for place_and_name, value in values.items():
        place, name = place_and_name.rsplit("_", 1)
        found[ArpKey(place, f"arp_{name}")] = value
    return found


def test_the_interface_of_the_vips_network_is_chosen_not_the_one_of_the_director() -> None:
    facts = Facts(INTERFACES, routes=(route("eth14", "192.168.7.0/24"), route("eth12", "192.168.88.0/24")))
    assert list(choose_interfaces(facts, [VIP])) == ["eth14"]


def test_a_vip_behind_a_gateway_chooses_the_most_specific_way() -> None:
    facts = Facts(
        INTERFACES,
        routes=(route("eth12", "0.0.0.0/0", on_link=False), route("eth14", "192.168.0.0/16", on_link=False)),
    )
    assert list(choose_interfaces(facts, [VIP])) == ["eth14"]


def test_no_route_chooses_nothing_and_ipv6_needs_no_interface() -> None:
    assert choose_interfaces(Facts(INTERFACES), [VIP]) == {}
    facts = Facts(INTERFACES, routes=(route("eth14", "fd00::/64"),))
    assert choose_interfaces(facts, [ipaddress.ip_address("fd00::9")]) == {}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (HostAddress("ens224", VIP, 28), "ip address del 192.168.7.33/28 dev ens224"),
        (HostAddress("lo", VIP, 24), "ip address del 192.168.7.33/24 dev lo"),
    ],
)
def test_a_vip_that_is_elsewhere_is_refused_with_the_way_out(held: HostAddress, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        plan.validate(Facts(INTERFACES, (held,)), {VIP: "lo"}, [])


def test_a_vip_on_lo_already_and_an_interface_that_is_there_are_accepted() -> None:
    plan.validate(Facts(INTERFACES, (HostAddress("lo", VIP, 32),)), {VIP: "lo"}, ["eth14"])


def test_a_missing_interface_is_named_with_those_there_are() -> None:
    with pytest.raises(SetupError, match=r"no interface eth9 here; choose from: lo, eth14, eth12"):
        plan.validate(Facts(INTERFACES), {VIP: "lo"}, ["eth9"])


@pytest.mark.parametrize(
    ("name", "value", "silent"),
    [("arp_ignore", value, value in (1, 2)) for value in range(9)]
    + [("arp_announce", value, value == 2) for value in range(4)],
)
def test_only_the_values_that_do_the_work_count(name: str, value: int, silent: bool) -> None:
    assert plan.is_silent(ArpKey("all", name), value) is silent


def test_a_higher_bad_value_on_an_interface_nobody_named_is_found() -> None:
    facts = Facts(INTERFACES, arp=arp(all_ignore=1, all_announce=2, eth12_ignore=3, tun0_ignore=3))
    assert plan.uncovered_keys(facts, ["eth14"]) == [ArpKey("eth12", "arp_ignore")]
    assert plan.uncovered_keys(facts, ["eth14", "eth12"]) == []


def test_status_goes_by_the_maximum_of_all_and_interface() -> None:
    facts = Facts(INTERFACES, (HostAddress("lo", VIP, 32),), arp=arp(all_ignore=1, all_announce=2))
    found = build_report(facts, State(namespace="x"), [VIP], ["eth14"], no_file)
    assert found.ok
    row = next(row for row in found.settings if row.setting == "net.ipv4.conf.eth14.arp_announce")
    assert (row.value, row.effective, row.set_by, row.ok) == ("0", "2", "kernel default", True)


def test_status_tells_who_and_what_drifted() -> None:
    known = State(
        namespace="x",
        was_there={str(VIP): False},
        sysctls={
            "net.ipv4.conf.all.arp_ignore": Change(before=0, written=1),
            "net.ipv4.conf.all.arp_announce": Change(before=0, written=2),
        },
    )
    facts = Facts(INTERFACES[:1], arp=arp(all_announce=2, lo_ignore=1))
    found = build_report(facts, known, [VIP], [], file_of_lo)
    rows = {row.setting: (row.set_by, row.ok) for row in found.settings}
    assert not found.ok
    assert rows == {
        "192.168.7.33 on lo": ("removed since", False),
        "net.ipv4.conf.all.arp_ignore": ("pointsman, changed since", False),
        "net.ipv4.conf.all.arp_announce": ("pointsman", True),
        "net.ipv4.conf.lo.arp_ignore": ("/etc/sysctl.d/x", True),
        "net.ipv4.conf.lo.arp_announce": ("/etc/sysctl.d/x", True),
    }


def test_a_vip_on_a_nic_too_is_not_right() -> None:
    both = (HostAddress("lo", VIP, 32), HostAddress("eth14", VIP, 24))
    found = build_report(
        Facts(INTERFACES[:1], both, arp=arp(all_ignore=1, all_announce=2)),
        State(namespace="x"),
        [VIP],
        [],
        no_file,
    )
    assert [row.setting for row in found.settings if not row.ok] == ["192.168.7.33 on eth14"]


@pytest.mark.parametrize("text", ["192.168.7.33", "192.168.7.33/32", "fd00::9", "fd00::9/128"])
def test_vips(text: str) -> None:
    assert str(parse_vip(text)) == text.partition("/")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web.example", "not an IPv4 or IPv6 address"),
        ("", "not an IPv4 or IPv6 address"),
        ("192.168.7.33/24", "prefix /32"),
        ("192.168.7.33/", "not an IPv4 or IPv6 address|prefix /32"),
        ("fd00::9/64", "prefix /128"),
        ("127.0.0.1", "cannot be a VIP"),
        ("224.0.0.18", "cannot be a VIP"),
        ("255.255.255.255", "cannot be a VIP"),
        ("0.0.0.0", "cannot be a VIP"),
        ("fe80::1", "cannot be a VIP"),
    ],
)
def test_what_is_no_vip_is_refused(text: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        parse_vip(text)


@pytest.mark.parametrize("interface", ["all", "eth0", "eth0.100"])
def test_sysctl_keys_survive_their_text(interface: str) -> None:
    key = ArpKey(interface, "arp_ignore")
    assert ArpKey.parse(str(key)) == key


@pytest.mark.parametrize(
    ("everywhere", "there", "networks", "said"),
    [
        (1, 0, ("192.168.7.0/24", "192.168.88.0/24"), "net.ipv4.conf.all.rp_filter = 1: requests"),
        (0, 1, ("192.168.7.0/24", "192.168.88.0/24"), "net.ipv4.conf.eth12.rp_filter = 1: requests"),
        (2, 1, ("192.168.7.0/24", "192.168.88.0/24"), ""),
        (1, 2, ("192.168.7.0/24", "192.168.88.0/24"), ""),
        (1, 1, ("192.168.88.0/24",), ""),
    ],
)
def test_status_warns_of_strict_rp_filter_where_it_can_drop_requests(
    everywhere: int, there: int, networks: tuple[str, ...], said: str
) -> None:
    """The director sends to eth12, and clients are routed back by eth14: as in the second document."""
    devices = {"192.168.7.0/24": "eth14", "192.168.88.0/24": "eth12"}
    facts = Facts(
        tuple(each for each in INTERFACES if each.name in ("lo", "eth12")),
        (HostAddress("lo", VIP, 32),),
        routes=tuple(route(devices[network], network) for network in networks),
        arp=arp(all_ignore=1, all_announce=2),
        reverse_path={"all": everywhere, "eth12": there},
    )
    found = build_report(facts, State(namespace="x"), [VIP], ["eth12"], no_file)
    assert found.ok
    assert [text[: len(said)] for text in found.warnings] == ([said] if said else [])
    assert all("sysctl -w net.ipv4.conf.eth12.rp_filter=2" in text for text in found.warnings)
