# SPDX-License-Identifier: Apache-2.0
"""The neighbour watcher against the kernel's own tables."""

from __future__ import annotations

import ipaddress
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.address import Address
from pointsman.model.next_hop import NextHop
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.addresses import assign, withdraw
from pointsman.net.links import links
from pointsman.net.neighbours import NeighbourWatcher
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket
from pointsman.net.route_table import Route, route_to

pytestmark = pytest.mark.root

RIP = ipaddress.IPv4Address("10.9.0.20")
NOBODY = ipaddress.IPv4Address("10.9.0.66")
FAR = ipaddress.IPv4Address("192.0.2.1")


class Follower:
    """Drives a watcher as the director does, and keeps the last word about each address."""

    def __init__(self, watcher: NeighbourWatcher) -> None:
        self.watcher = watcher
        self.hops: dict[object, NextHop] = {}
        self.reports = 0

    def watch(self, *addresses: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        self._take(self.watcher.watch(addresses))

    def watch_tunnels(self, *addresses: Address, direct: Sequence[Address] = ()) -> None:
        self._take(self.watcher.watch(direct, addresses))

    def until(self, what: str, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            now = time.monotonic()
            assert now < end, f"waited {seconds:g} s in vain until {what}"
            deadline = self.watcher.deadline
            timeout = 0.1 if deadline is None else min(max(deadline - now, 0.0), 0.1)
            select.select([self.watcher], [], [], timeout)
            self._take(self.watcher.refresh(time.monotonic()))

    def destination(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address = RIP) -> bytes | None:
        return self.hops[address].destination

    def _take(self, changed: list[NextHop]) -> None:
        self.reports += len(changed)
        self.hops |= {hop.address: hop for hop in changed}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as here:
        yield here


@pytest.fixture
def director(made: Switch) -> Host:
    return made.host("director", "10.9.0.1/24")


@pytest.fixture
def server(made: Switch) -> Host:
    return made.host("server", f"{RIP}/24")


@pytest.fixture
def follower(director: Host) -> Iterator[Follower]:
    with namespace.entered(director.namespace):
        watcher = NeighbourWatcher()
    yield Follower(watcher)
    watcher.close()


def test_a_real_server_is_resolved_by_asking(director: Host, server: Host, follower: Follower) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None, 2.0)
    hop = follower.hops[RIP]
    assert (hop.source, hop.destination) == (director.mac(), server.mac())
    assert hop.index == int(director.ip("-o", "link", "show", "dev", "eth0").split(":")[0])
    assert follower.watcher.problems() == {}


def test_nothing_is_reported_twice(director: Host, server: Host, follower: Follower) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    before = follower.reports
    follower.watch(RIP)
    for state in ("stale", "probe", "reachable"):
        director.ip(
            *("neigh", "replace", str(RIP), "lladdr", server.mac().hex(":"), "dev", "eth0", "nud", state)
        )
        follower.watcher.process()
    assert follower.reports == before


def test_a_new_mac_that_announces_itself_is_noticed_at_once(server: Host, follower: Follower) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    server.ip("link", "set", "eth0", "address", "02:00:00:00:00:20")
    with namespace.entered(server.namespace):
        server.start("arping", "-c", "2", "-U", "-I", "eth0", str(RIP))
    follower.until(
        "the new MAC is known", lambda: follower.destination() == bytes.fromhex("020000000020"), 5.0
    )


def test_a_new_mac_that_keeps_silent_is_noticed_by_asking_again(
    director: Host, server: Host, follower: Follower
) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    server.ip("link", "set", "eth0", "address", "02:00:00:00:00:21")
    # The kernel believes an entry for 15 to 45 s; here it is told that the time is over.
    director.ip("neigh", "change", str(RIP), "dev", "eth0", "nud", "stale")
    follower.until("the new MAC is known", lambda: follower.destination() == bytes.fromhex("020000000021"))


def test_a_host_that_is_gone_has_no_destination_and_comes_back(
    director: Host, server: Host, follower: Follower
) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    server.plug(False)
    director.ip("neigh", "change", str(RIP), "dev", "eth0", "nud", "stale")
    follower.until("it is known to be gone", lambda: follower.destination() is None)
    server.plug(True)
    follower.until("it is back", lambda: follower.destination() == server.mac())


def test_an_address_that_nobody_has_stays_without_destination(director: Host, follower: Follower) -> None:
    follower.watch(NOBODY)
    assert follower.destination(NOBODY) is None
    assert follower.hops[NOBODY].source == director.mac()
    assert follower.watcher.deadline is not None


@pytest.mark.usefixtures("server")
def test_a_real_server_behind_a_router_is_a_problem_with_a_way_out(
    director: Host, follower: Follower
) -> None:
    director.ip("route", "add", "default", "via", str(RIP))
    follower.watch(FAR)
    problem = follower.watcher.problems()[FAR]
    assert f"real server {FAR} is not on-link: the route goes through {RIP} by eth0" in problem
    assert "prefix that holds both" in problem
    assert follower.destination(FAR) is None


def test_a_tunnel_goes_through_the_gateway_wherever_the_route_leads(
    made: Switch, director: Host, server: Host, follower: Follower
) -> None:
    """The gateway's MAC address, its changes, another gateway, the route's MTU; and no problem is told."""
    other = made.host("other", f"{NOBODY}/24")
    director.ip("route", "add", "default", "via", str(RIP))
    follower.watch_tunnels(FAR)
    follower.until("the gateway is known", lambda: follower.destination(FAR) == server.mac())
    hop = follower.hops[FAR]
    assert (hop.gateway, str(hop.own_address), hop.source) == (RIP, "10.9.0.1", director.mac())
    assert follower.watcher.problems() == {}
    server.ip("link", "set", "eth0", "address", "02:00:00:00:00:20")
    director.ip("neigh", "change", str(RIP), "dev", "eth0", "nud", "stale")
    follower.until("its new MAC", lambda: follower.destination(FAR) == bytes.fromhex("020000000020"))
    director.ip("route", "replace", "default", "via", str(NOBODY), "mtu", "1400")
    follower.until("the other gateway", lambda: follower.destination(FAR) == other.mac())
    assert (follower.hops[FAR].gateway, follower.hops[FAR].route_mtu) == (NOBODY, 1400)


def test_a_tunnel_wants_an_address_of_its_own_family(director: Host, follower: Follower) -> None:
    far = ipaddress.IPv6Address("2001:db8::1")
    director.ip("-6", "address", "flush", "dev", "eth0")
    director.ip("-6", "route", "add", "2001:db8::/64", "dev", "eth0")
    follower.watch_tunnels(far)
    assert "no address of this host" in follower.watcher.problems()[far]


@pytest.mark.usefixtures("server")
def test_a_server_of_both_kinds_is_reached_by_its_tunnel_and_told_of(
    director: Host, follower: Follower
) -> None:
    director.ip("route", "add", "default", "via", str(RIP))
    follower.watch_tunnels(FAR, direct=[FAR])
    follower.until("the gateway is known", lambda: follower.destination(FAR) is not None)
    assert "is not on-link" in follower.watcher.problems()[FAR]


def test_a_real_server_without_route_is_a_problem_until_there_is_one(
    director: Host, follower: Follower
) -> None:
    follower.watch(FAR)
    assert "no route to real server 192.0.2.1" in follower.watcher.problems()[FAR]
    director.ip("route", "add", "192.0.2.0/24", "dev", "eth0")
    follower.until("the problem is gone", lambda: follower.watcher.problems() == {})
    assert follower.hops[FAR].source == director.mac()


def test_a_new_rule_of_routing_is_followed(director: Host, follower: Follower) -> None:
    director.ip("route", "add", "192.0.2.0/24", "dev", "eth0", "table", "77")
    follower.watch(FAR)
    assert "no route to real server 192.0.2.1" in follower.watcher.problems()[FAR]
    director.ip("rule", "add", "to", "192.0.2.0/24", "lookup", "77")
    follower.until("the problem is gone", lambda: follower.watcher.problems() == {})
    assert follower.hops[FAR].source == director.mac()


@pytest.mark.usefixtures("server")
def test_one_more_real_server_is_the_only_one_that_is_looked_up(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [ipaddress.IPv4Address("10.9.0.100") + number for number in range(100)]
    follower.watch(*many)
    asked: list[Address] = []

    def counting(netlink: NetlinkSocket, address: Address) -> Route | None:
        asked.append(address)
        return route_to(netlink, address)

    monkeypatch.setattr("pointsman.net.neighbours.route_to", counting)
    follower.watch(*many, RIP)
    follower.watch(*many[:50], RIP)
    assert asked == [RIP]
    follower.until("it is resolved", lambda: follower.destination() is not None, 2.0)


def test_the_director_itself_as_real_server_is_told(director: Host, follower: Follower) -> None:
    follower.watch(director.address)
    assert follower.hops[director.address].local
    assert not follower.watcher.problems()


@pytest.mark.usefixtures("server")
def test_the_director_s_own_new_mac_is_followed(director: Host, follower: Follower) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    director.ip("link", "set", "eth0", "address", "02:00:00:00:00:01")
    follower.until("the source has changed", lambda: follower.hops[RIP].source.hex() == "020000000001")


def test_an_interface_that_is_down_leads_nowhere(director: Host, server: Host, follower: Follower) -> None:
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    director.ip("link", "set", "eth0", "down")
    follower.until("it has no destination", lambda: follower.destination() is None)
    director.ip("link", "set", "eth0", "up")
    follower.until("it is resolved again", lambda: follower.destination() == server.mac())


def test_ipv6(director: Host, server: Host, follower: Follower) -> None:
    rip = ipaddress.IPv6Address("2001:db8::20")
    director.ip("addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    server.ip("addr", "add", f"{rip}/64", "dev", "eth0", "nodad")
    follower.watch(rip)
    follower.until("it is resolved", lambda: follower.destination(rip) == server.mac())


@pytest.mark.usefixtures("server")
def test_lost_notifications_are_made_up_for(director: Host, follower: Follower) -> None:
    """More changes than the socket's buffer holds: the watcher reads the tables again."""
    follower.watch(RIP)
    follower.until("it is resolved", lambda: follower.destination() is not None)
    wanted = VirtualAddress(address=ipaddress.IPv4Address("10.9.1.1"), prefix_length=32, device="eth0")
    with namespace.entered(director.namespace), NetlinkSocket() as netlink:
        witness = NetlinkMonitor(NetlinkMonitor.IPV4_ADDRESS | NetlinkMonitor.IPV4_ROUTE)
        here = links(netlink)
        for _ in range(3000):
            assert assign(netlink, here, [wanted]) == []
            assert withdraw(netlink, here, [wanted]) == []
    director.ip("link", "set", "eth0", "address", "02:00:00:00:00:01")
    with pytest.raises(NetlinkOverrunError):
        witness.read()
    witness.close()
    follower.until("the source has changed", lambda: follower.hops[RIP].source.hex() == "020000000001", 2.0)


def test_watching_nothing_asks_for_nothing(follower: Follower) -> None:
    follower.watch()
    assert follower.watcher.deadline is None
    assert follower.watcher.refresh(time.monotonic()) == []
