# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses and routes that another program changes while the VRRP process runs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.routing import VirtualRoute, VirtualRule
from pointsman.model.tracking import SyncGroupSettings, Tracked, TrackKind
from pointsman.model.vrrp import StaticSettings, VirtualAddress, VirtualInterface, VrrpInstance

pytestmark = pytest.mark.root

LINK_LOCAL = VirtualAddress(address=ipaddress.ip_address("fe80::1"), prefix_length=64, device="eth0")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Switch, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24")


def make(host: Host, name: str, *addresses: str) -> None:
    """Make an interface with a far end that is up."""
    host.ip("link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
    for address in addresses:
        host.ip("addr", "add", address, "dev", name)
    host.ip("link", "set", f"far-{name}", "up")
    host.ip("link", "set", name, "up")


def on_vmac(family: int) -> VrrpInstance:
    name = {4: "vrrp.1", 6: "vrrp6.1"}[family]
    mac = bytes.fromhex({4: "00005e000101", 6: "00005e000201"}[family])
    first = instance().addresses[0] if family == 4 else LINK_LOCAL
    moving = VirtualAddress(address=first.address, prefix_length=first.prefix_length, device=name)
    return instance(own_interface=VirtualInterface(name=name, base="eth0", mac=mac), addresses=(moving,))


@pytest.mark.parametrize("family", [4, 6])
def test_the_base_of_a_virtual_interface_is_deleted_made_again_and_renamed(
    place: tuple[Switch, Host], family: int
) -> None:
    made, a = place
    wanted = on_vmac(family)
    process = Ours(a, made.directory, wanted)
    moving = f" {wanted.addresses[0].address}/"

    def serves() -> bool:
        return process.state() == "MASTER" and moving in a.ip("-o", "addr", "show")

    until("it is master", serves)
    a.ip("link", "del", "eth0")
    until("without its interface it is in FAULT", lambda: process.state() == "FAULT")
    make(a, "eth0", "10.9.0.1/24")
    until("it serves again", serves)
    for name, back in (("eth0", "other"), ("other", "eth0")):
        for words in (f"{name} down", f"{name} name {back}", f"{back} up"):
            a.ip("link", "set", *words.split())
        if back == "other":
            until("under another name it is in FAULT", lambda: process.state() == "FAULT")
            assert moving not in a.ip("-o", "addr", "show")
    until("with its name it serves", serves)
    said = process.log.read_text()
    assert not [line for line in said.splitlines() if "cannot" in line or "no IPv4 address" in line]
    assert "0.0.0.0" not in said and "configuration" not in said
    assert process.stop() == 0
    assert ": vrrp" not in a.ip("link", "show")


def test_a_setting_of_an_interface_is_there_again_with_it(place: tuple[Switch, Host]) -> None:
    made, a = place
    process = Ours(a, made.directory, instance(promote_secondaries=True))

    def promotes() -> bool:
        with namespace.entered(a.namespace):
            return Path("/proc/sys/net/ipv4/conf/eth0/promote_secondaries").read_text() == "1\n"

    until("it is set", lambda: process.state() == "MASTER" and promotes())
    a.ip("link", "del", "eth0")
    until("it is in FAULT", lambda: process.state() == "FAULT")
    make(a, "eth0", "10.9.0.1/24")
    until("it is set again", lambda: process.state() == "MASTER" and promotes())
    assert "cannot" not in process.log.read_text()
    assert process.stop() == 0
    assert not promotes()


def test_an_interface_on_another_goes_and_comes_back_with_it(place: tuple[Switch, Host]) -> None:
    made, a = place

    def make_upper() -> None:
        a.ip("link", "add", "link", "eth0", "name", "upper", "type", "macvlan", "mode", "bridge")
        a.ip("addr", "add", "10.6.0.1/24", "dev", "upper")
        a.ip("link", "set", "upper", "up")

    make_upper()
    moving = VirtualAddress(address=ipaddress.ip_address("10.6.0.100"), prefix_length=24, device="upper")
    process = Ours(a, made.directory, instance(interface="upper", addresses=(moving,)))
    until("it is master", lambda: process.state() == "MASTER")
    a.ip("link", "set", "eth0", "address", "02:00:00:00:00:77")
    a.ip("link", "del", "eth0")
    until("it is in FAULT", lambda: process.state() == "FAULT")
    make(a, "eth0")
    make_upper()
    until("it is master again", lambda: process.state() == "MASTER")
    assert "10.6.0.100/24" in a.ip("-o", "addr", "show", "dev", "upper")


def test_one_link_local_address_moves_on_two_interfaces(place: tuple[Switch, Host]) -> None:
    made, a = place
    b = made.host("b", "10.9.0.2/24")
    for host in (a, b):
        make(host, "eth1")
    second = VirtualAddress(address=LINK_LOCAL.address, prefix_length=64, device="eth1")

    def both(priority: int) -> tuple[VrrpInstance, VrrpInstance]:
        return (
            instance(1, priority=priority, addresses=(LINK_LOCAL,)),
            instance(2, priority=priority, interface="eth1", addresses=(second,)),
        )

    def holds(host: Host, device: str) -> bool:
        return "fe80::1/64" in host.ip("-6", "-o", "addr", "show", "dev", device)

    first = Ours(a, made.directory, *both(200))
    until("both are master", lambda: first.state("VI_1") == first.state("VI_2") == "MASTER")
    assert holds(a, "eth0") and holds(a, "eth1")
    backup = Ours(b, made.directory, both(100)[0])
    until("b is backup", lambda: backup.state() == "BACKUP")
    a.ip("link", "set", "far-eth1", "down")
    until("one is in FAULT", lambda: first.state("VI_2") == "FAULT")
    assert first.state("VI_1") == "MASTER" and holds(a, "eth0"), "the other interface keeps the address"
    assert not holds(a, "eth1")
    assert first.stop() == 0
    until("b has it", lambda: backup.state() == "MASTER" and holds(b, "eth0"))


def test_a_sync_group_follows_a_port_of_a_bridge(place: tuple[Switch, Host]) -> None:
    """A tracked interface leaves its bridge, comes back into it, goes down and is deleted."""
    made, a = place
    a.ip("link", "add", "bridge0", "type", "bridge")
    make(a, "eth1")
    make(a, "eth2", "10.7.0.1/24")
    a.ip("link", "set", "eth1", "master", "bridge0")
    tracked = Tracked(kind=TrackKind.INTERFACE, name="eth1")
    members = instance(1, tracked=(tracked,)), instance(2, interface="eth2", addresses=())
    process = Ours(a, made.directory, *members)
    process.reload(*members, groups=(SyncGroupSettings(name="G", members=("VI_1", "VI_2")),))

    def both(state: str) -> bool:
        return [process.state("VI_1"), process.state("VI_2")] == [state] * 2

    until("both are master", lambda: both("MASTER"))
    for change, state in (
        ("set eth0 down", "FAULT"),
        ("set eth1 nomaster", "FAULT"),
        ("set eth0 up", "MASTER"),
        ("set eth1 master bridge0", "MASTER"),
        ("set eth1 down", "FAULT"),
        ("del eth1", "FAULT"),
    ):
        a.ip("link", *change.split())
        until(f"after {change} both are {state}", lambda wanted=state: both(wanted))  # type: ignore[misc]
    make(a, "eth1")
    until("both are master again", lambda: both("MASTER"))


def test_whatever_is_flushed_comes_back(place: tuple[Switch, Host]) -> None:
    """A manager of the network that starts again takes away all that it does not know."""
    made, a = place
    network = ipaddress.ip_address("10.77.0.0")
    route = VirtualRoute(
        destination=network, prefix_length=16, gateway=ipaddress.ip_address("10.9.0.254"), device="eth0"
    )
    rule = VirtualRule(family=4, preference=99, source=ipaddress.ip_network("10.77.0.0/16"), table=100)
    process = Ours(a, made.directory, instance(routes=(route,), rules=(rule,)))

    def serves() -> bool:
        return (
            process.state() == "MASTER"
            and set(a.addresses()) == {"10.9.0.1/24", "10.9.0.100/24"}
            and "10.77.0.0/16 via" in a.ip("route")
            and "10.77.0.0/16 lookup 100" in a.ip("rule")
        )

    until("it serves", serves)
    for words in ("rule del pref 99", "route flush dev eth0", "addr flush dev eth0"):
        a.ip(*words.split())
    a.ip("addr", "add", "10.9.0.1/24", "dev", "eth0")
    until("all of it is back", serves)
    assert process.stop() == 0
    assert a.addresses() == ["10.9.0.1/24"]


def test_an_address_of_the_same_file_is_the_source_of_adverts(place: tuple[Switch, Host]) -> None:
    made, a = place
    a.ip("addr", "flush", "dev", "eth0")
    own = VirtualAddress(address=a.address, prefix_length=24, device="eth0")
    static = StaticSettings(addresses=(own,))
    process = Ours(a, made.directory, instance(), static=static)
    until("it is master", lambda: process.state() == "MASTER")
    assert set(a.addresses()) == {"10.9.0.1/24", "10.9.0.100/24"}
    assert [report.state for report in process.heard] == ["BACKUP", "MASTER"]
    assert "no IPv4 address" not in process.log.read_text()
    assert process.stop() == 0
