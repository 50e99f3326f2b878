# SPDX-License-Identifier: Apache-2.0
"""VRRP with interfaces that not every kernel has: ipvlan, VRF. test_kernels.py runs this in a guest."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance, refused
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.vrrp import VirtualAddress, VirtualInterface, VrrpInstance
from pointsman.net import virtual_links
from pointsman.net.netlink import NetlinkSocket

pytestmark = pytest.mark.root

NAME, VIP = "vrrp.1", "10.9.0.100"
MAC = bytes.fromhex("00005e000101")


def has_kind(kind: str) -> bool:
    """Asked of this very kernel."""
    with NetlinkSocket() as netlink:
        return virtual_links.supports_kind(netlink, kind)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def answers(host: Host) -> bool:
    with namespace.entered(host.namespace):
        return subprocess.run(["ping", "-c1", "-W1", VIP], capture_output=True).returncode == 0


def with_interface(own: VirtualInterface, **changes: Any) -> VrrpInstance:
    address = VirtualAddress(address=ipaddress.ip_address(VIP), prefix_length=24, device=own.name)
    by_base = not own.has_mac
    wanted = {"advert_interval": 0.5, **changes}
    return instance(addresses=(address,), own_interface=own, advertises_by_base=by_base, **wanted)


def details(host: Host) -> str:
    """Return the output of ip(8) for the virtual interface; empty if there is none."""
    return "".join(line for line in host.ip("-d", "-o", "link").splitlines() if f": {NAME}@" in line)


def fails_over(first: Ours, second: Ours, client: Host) -> None:
    """The client is served by one, then by the other."""
    until("the first is master", lambda: (first.state(), second.state()) == ("MASTER", "BACKUP"))
    until("the client is served", lambda: answers(client))
    assert first.stop() == 0
    until("the second is master", lambda: second.state() == "MASTER")
    until("the client is served again", lambda: answers(client))


@pytest.mark.skipif(not has_kind("ipvlan"), reason="this kernel has no ipvlan")
def test_addresses_on_an_ipvlan(made: Switch) -> None:
    a, b, c = (made.host(name, f"10.9.0.{number}/24") for number, name in enumerate("abc", 1))
    own = VirtualInterface(name=NAME, base="eth0", mode="bridge")
    first = Ours(a, made.directory, with_interface(own))
    second = Ours(b, made.directory, with_interface(own, priority=100))
    until("the interface is there", lambda: "ipvlan" in details(a))
    until("the client is served", lambda: answers(c))
    assert "mode l2 bridge" in " ".join(details(a).split())
    until("the client has learnt who", lambda: c.neighbour(VIP) == a.mac())
    fails_over(first, second, c)
    assert details(a) == ""
    until("the client has learnt who", lambda: c.neighbour(VIP) == b.mac())


@pytest.mark.skipif(not has_kind("vrf"), reason="this kernel has no VRF")
def test_an_instance_and_its_virtual_mac_address_in_a_vrf(made: Switch) -> None:
    a, b, c = (made.host(name, f"10.9.0.{number}/24") for number, name in enumerate("abc", 1))
    own = VirtualInterface(name=NAME, base="eth0", mac=MAC)
    assert "is not in VRF red" in refused(Ours(a, made.directory, with_interface(own, vrf="red")))
    for host in (a, b):
        host.ip("link", "add", "red", "type", "vrf", "table", "10")
        host.ip("link", "set", "red", "up")
        host.ip("link", "set", "eth0", "master", "red")
    first = Ours(a, made.directory, with_interface(own, vrf="red"))
    second = Ours(b, made.directory, with_interface(own, priority=100))
    until("the virtual interface is in it", lambda: "master red" in details(a))
    fails_over(first, second, c)
    until("the client has learnt the MAC address", lambda: c.neighbour(VIP) == MAC)
    assert "master red" in details(b)
    b.ip("link", "set", "eth0", "nomaster")
    until("it follows", lambda: "master red" not in details(b))
