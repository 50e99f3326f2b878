# SPDX-License-Identifier: Apache-2.0
"""Addresses, links and adverts against the real kernel."""

from __future__ import annotations

import errno
import ipaddress
import select
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.until import until
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.lab import namespace
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.addresses import IFA_PROTO_OURS, InterfaceAddress, addresses, assign, remove, withdraw
from pointsman.net.arp import Announcer
from pointsman.net.links import Link, links
from pointsman.net.netlink import NetlinkSocket
from pointsman.packets.arp import gratuitous_arp
from pointsman.vrrp.wire import GROUP

pytestmark = pytest.mark.root

VIP = ipaddress.IPv4Address("10.9.0.100")
ENTRY = VirtualAddress(address=VIP, prefix_length=24, device="eth0")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


@pytest.fixture
def netlink(pair: tuple[Switch, Host, Host]) -> Iterator[NetlinkSocket]:
    """A netlink socket of host a."""
    with namespace.entered(pair[1].namespace):
        opened = NetlinkSocket()
    with opened:
        yield opened


def of_eth0(netlink: NetlinkSocket) -> list[InterfaceAddress]:
    index = links(netlink)["eth0"].index
    return [found for found in addresses(netlink) if found.index == index and found.address.version == 4]


def test_an_address_has_everything_that_was_asked_for(
    pair: tuple[Switch, Host, Host], netlink: NetlinkSocket
) -> None:
    entry = msgspec.structs.replace(
        ENTRY, prefix_length=25, broadcast=ipaddress.IPv4Address("10.9.0.255"), scope="link", label="eth0:vip"
    )
    assert assign(netlink, links(netlink), [entry]) == []
    shown = pair[1].ip("-4", "-o", "addr", "show", "label", "eth0:vip")
    assert "inet 10.9.0.100/25 brd 10.9.0.255 scope link eth0:vip" in " ".join(shown.split())


def test_assigning_twice_is_no_error_and_marks_an_address_of_others(
    pair: tuple[Switch, Host, Host], netlink: NetlinkSocket
) -> None:
    pair[1].ip("addr", "add", f"{VIP}/24", "dev", "eth0")
    assert of_eth0(netlink)[1].proto == 0
    for _ in range(2):
        assert assign(netlink, links(netlink), [ENTRY]) == []
        assert of_eth0(netlink)[1:] == [
            InterfaceAddress(links(netlink)["eth0"].index, VIP, 24, IFA_PROTO_OURS)
        ]


def test_many_addresses_go_in_one_batch_and_each_failure_is_told(netlink: NetlinkSocket) -> None:
    many = [
        msgspec.structs.replace(ENTRY, address=ipaddress.IPv4Address("10.9.1.0") + number, prefix_length=32)
        for number in range(250)
    ]
    stray = msgspec.structs.replace(ENTRY, device="eth9")
    assert [entry for entry, _ in assign(netlink, links(netlink), [stray, *many])] == [stray]
    assert len(of_eth0(netlink)) == 251
    failures = withdraw(netlink, links(netlink), [*many, ENTRY])
    assert [(entry, error.errno) for entry, error in failures] == [(ENTRY, errno.EADDRNOTAVAIL)]
    assert len(of_eth0(netlink)) == 1


def test_an_address_is_removed_as_it_was_listed(netlink: NetlinkSocket) -> None:
    assign(netlink, links(netlink), [ENTRY])
    listed = of_eth0(netlink)[1]
    assert remove(netlink, listed) is None
    assert len(of_eth0(netlink)) == 1
    error = remove(netlink, listed)
    assert error is not None
    assert error.errno == errno.EADDRNOTAVAIL


def test_links_tell_mac_and_carrier(pair: tuple[Switch, Host, Host], netlink: NetlinkSocket) -> None:
    _, a, _ = pair
    until("the carrier is there", lambda: links(netlink)["eth0"].running)
    link = links(netlink)["eth0"]
    assert link == Link(index=link.index, name="eth0", mac=a.mac(), up=True, running=True, mtu=1500)
    a.plug(False)
    until("the carrier is gone", lambda: not links(netlink)["eth0"].running)
    assert links(netlink)["eth0"].up
    a.ip("link", "set", "eth0", "down")
    assert not links(netlink)["eth0"].up


def test_gratuitous_arp_reaches_everybody(pair: tuple[Switch, Host, Host], netlink: NetlinkSocket) -> None:
    made, a, b = pair
    b.ip("neigh", "add", str(VIP), "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "eth0")
    capture = Capture(made, a)
    with namespace.entered(a.namespace):
        announcer = Announcer()
    present = links(netlink)
    on_loopback = msgspec.structs.replace(ENTRY, device="lo")
    assert announcer.announce(present, [ENTRY, on_loopback], 3) is None
    announcer.close()
    until("three are on the wire", lambda: capture.frames().count(gratuitous_arp(a.mac(), VIP.packed)) == 3)
    until("the other host has learnt it", lambda: b.neighbour(str(VIP)) == a.mac())


def sockets(host: Host, source: ipaddress.IPv4Address | None) -> AdvertSocket:
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        return AdvertSocket(links(netlink)["eth0"], source)


@pytest.mark.parametrize("unicast", [False, True])
def test_an_advert_arrives_with_its_time_and_does_not_come_back(
    pair: tuple[Switch, Host, Host], unicast: bool
) -> None:
    _, a, b = pair
    sender, receiver = (sockets(host, host.address if unicast else None) for host in (a, b))
    destination = b.address if unicast else GROUP
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    def arrives() -> bool:
        # Again and again: the switch may not forward yet what is sent first.
        sender.send(b"payload", a.address, destination)
        return bool(select.select([receiver], [], [], 0.02)[0])

    until("it is there", arrives)
    arrival, *_ = receiver.receive()
    datagram = arrival.datagram
    assert (datagram.source, datagram.destination) == (a.address, destination)
    assert (datagram.ttl, datagram.payload) == (255, b"payload")
    assert before - 0.01 < arrival.time < time.clock_gettime(time.CLOCK_BOOTTIME) + 0.01
    assert list(sender.receive()) == []
    sender.close()
    receiver.close()


def test_the_time_of_arrival_is_the_kernel_s_and_not_that_of_reading(pair: tuple[Switch, Host, Host]) -> None:
    _, a, b = pair
    sender, receiver = sockets(a, None), sockets(b, None)

    def told_in_time() -> bool:
        sender.send(b"payload", a.address, GROUP)
        sent = time.clock_gettime(time.CLOCK_BOOTTIME)
        time.sleep(0.5)  # the receiver is stalled
        arrivals = list(receiver.receive())
        return bool(arrivals) and abs(arrivals[-1].time - sent) < 0.1

    # The kernel begins to take times a moment after the first socket has asked for them.
    until("the time is that of arrival", told_in_time)
    sender.close()
    receiver.close()


def test_multicast_and_unicast_sockets_do_not_hear_each_other_s(pair: tuple[Switch, Host, Host]) -> None:
    _, a, b = pair
    group, own = sockets(b, None), sockets(b, b.address)
    sender, multicast = sockets(a, a.address), sockets(a, None)
    heard: dict[str, set[bytes]] = {"group": set(), "own": set()}

    def both() -> bool:
        # Again and again: the switch may not forward yet what is sent first.
        sender.send(b"to one", a.address, b.address)
        multicast.send(b"to all", a.address, GROUP)
        heard["group"] |= {arrival.datagram.payload for arrival in group.receive()}
        heard["own"] |= {arrival.datagram.payload for arrival in own.receive()}
        return all(heard.values())

    until("both have heard", both)
    assert heard == {"group": {b"to all"}, "own": {b"to one"}}
    for opened in (group, own, sender, multicast):
        opened.close()


def test_a_refusal_says_what_the_kernel_says(netlink: NetlinkSocket) -> None:
    wrong = msgspec.structs.replace(ENTRY, prefix_length=33)
    ((_, error),) = assign(netlink, links(netlink), [wrong])
    assert error.errno == errno.EINVAL
    assert "prefix" in str(error).lower()
