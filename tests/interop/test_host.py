# SPDX-License-Identifier: Apache-2.0
"""This host's network as one value, read from a kernel that was set up for it."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from pointsman.lab import namespace
from pointsman.net.addresses import IFA_PROTO_OURS, InterfaceAddress, add
from pointsman.net.host import Host, read_host
from pointsman.net.neighbour_table import PERMANENT
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.route_table import UNICAST, Route

pytestmark = pytest.mark.root

NAME = f"pmhost{os.getpid()}"
VIP = ipaddress.IPv4Address("192.0.2.9")
INSIDE = pytest.mark.usefixtures("inside")
COMMANDS = (
    "link set lo up",
    "link add under type veth peer name other",
    "link add over link under address 00:00:5e:00:01:07 type macvlan mode private",
    "link add bridge type bridge",
    "link set other master bridge",
    "link set under up",
    "link set other up arp off",
    "addr add 192.0.2.1/24 dev under",
    "addr add 2001:db8::1/64 dev under nodad",
    "route add 198.51.100.0/24 via 192.0.2.2",
    "route add 203.0.113.0/24 via inet6 2001:db8::2 dev under",
    "route add 198.51.101.0/24 via 192.0.2.2 table 7",
    "route add blackhole 198.51.102.0/24",
    "-6 route add 2001:db8:1::/48 via 2001:db8::2",
    "neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev under",
)


@pytest.fixture
def inside() -> Iterator[None]:
    """Move this thread into a namespace with all of that."""
    namespace.create(NAME)
    try:
        with namespace.entered(NAME):
            for command in COMMANDS:
                subprocess.run(["ip", *command.split()], check=True)
            with NetlinkSocket() as netlink:
                assert (
                    add(netlink, InterfaceAddress(socket.if_nametoindex("over"), VIP, 32, IFA_PROTO_OURS))
                    is None
                )
            yield
    finally:
        namespace.delete(NAME)


def index(host: Host, name: str) -> int:
    return next(link.index for link in host.links if link.name == name)


@INSIDE
def test_links_with_their_details() -> None:
    host = read_host()
    links = {link.name: link for link in host.links}
    lo, under, other, over, bridge = (links[name] for name in ("lo", "under", "other", "over", "bridge"))
    assert (lo.loopback, lo.arp, lo.up, lo.kind) == (True, False, True, "")
    assert (under.loopback, under.arp, under.running, under.kind) == (False, True, True, "veth")
    assert (other.arp, other.master) == (False, bridge.index)
    assert (over.kind, over.lower, over.mac.hex(":")) == ("macvlan", under.index, "00:00:5e:00:01:07")
    assert (over.up, bridge.kind, under.xdp) == (False, "bridge", False)


@INSIDE
def test_addresses_with_their_marks() -> None:
    host = read_host()
    found = {str(each.address): each for each in host.addresses}
    over = index(host, "over")
    assert found["192.0.2.9"] == InterfaceAddress(over, VIP, 32, IFA_PROTO_OURS)
    assert (found["192.0.2.1"].proto, found["2001:db8::1"].prefix_length) == (0, 64)


@INSIDE
def test_the_main_tables_unicast_routes() -> None:
    host = read_host(routes=True)
    found = {str(route.network): route for route in host.routes}
    assert set(found) >= {"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:1::/48"}
    assert not set(found) & {"198.51.101.0/24", "198.51.102.0/24", "127.0.0.0/8"}
    under = index(host, "under")
    assert found["192.0.2.0/24"] == Route(
        network=ipaddress.ip_network("192.0.2.0/24"),
        kind=UNICAST,
        index=under,
        source=ipaddress.ip_address("192.0.2.1"),
    )
    assert str(found["198.51.100.0/24"].gateway) == "192.0.2.2"
    assert str(found["203.0.113.0/24"].gateway) == "2001:db8::2"
    assert str(found["2001:db8:1::/48"].gateway) == "2001:db8::2"


@INSIDE
def test_neighbours_and_settings() -> None:
    host = read_host(neighbours_too=True, settings=("rp_filter", "no_such_setting"))
    (found,) = [each for each in host.neighbours if str(each.address) == "192.0.2.2"]
    assert (found.index, found.mac) == (index(host, "under"), bytes.fromhex("020000000002"))
    assert found.state & PERMANENT
    assert set(host.settings) == {(place, "rp_filter") for place in ("all", *host.names().values())}


@INSIDE
def test_large_parts_are_read_only_where_they_are_asked_for() -> None:
    host = read_host()
    assert (host.routes, host.neighbours, host.settings) == ((), (), {})
    assert host.links
    assert host.addresses


def test_a_namespace_in_which_nothing_was_ever_done() -> None:
    namespace.create(NAME)
    try:
        with namespace.entered(NAME):
            host = read_host(routes=True, neighbours_too=True)
    finally:
        namespace.delete(NAME)
    assert [link.name for link in host.links] == ["lo"]
    assert (host.addresses, host.routes, host.neighbours) == ((), (), ())
