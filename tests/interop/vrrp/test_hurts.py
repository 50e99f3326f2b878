# SPDX-License-Identifier: Apache-2.0
"""Situations that keepalived handles badly: crashes without restart, address conflicts, many instances."""

from __future__ import annotations

import ipaddress
import itertools
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.daemon.vrrp.vmac import clean_up
from pointsman.lab import namespace
from pointsman.model.routing import VirtualRoute, VirtualRule
from pointsman.model.vrrp import StaticSettings, VirtualAddress, VrrpInstance
from pointsman.net.addresses import addresses, assign
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket
from pointsman.packets.arp import gratuitous_arp
from pointsman.packets.checksum import internet_checksum
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.wire import GROUP, encode

pytestmark = pytest.mark.root

VIP = ipaddress.IPv4Address("10.9.0.100")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


def instance(number: int = 1, **changes: object) -> VrrpInstance:
    quick = VrrpInstance(
        name=f"VI_{number}",
        interface="eth0",
        virtual_router_id=number,
        version=3,
        priority=200,
        advert_interval=0.1,
        addresses=(VirtualAddress(address=VIP - 1 + number, prefix_length=24, device="eth0"),),
    )
    return msgspec.structs.replace(quick, **changes)


def lifetime(host: Host) -> int:
    """Seconds that the kernel will keep the virtual address."""
    words = host.ip("-4", "addr", "show", "dev", "eth0", "to", f"{VIP}/32").split()
    return int(words[words.index("valid_lft") + 1].removesuffix("sec"))


def test_the_kernel_takes_an_address_away_that_is_not_renewed(pair: tuple[Switch, Host, Host]) -> None:
    _, a, _ = pair
    with namespace.entered(a.namespace), NetlinkSocket() as netlink:
        entry = instance().addresses[0]
        assert assign(netlink, links(netlink), [entry], lifetime=1) == []
        assert VIP in {found.address for found in addresses(netlink)}
        until("it is gone", lambda: VIP not in {found.address for found in addresses(netlink)})


def test_a_living_master_renews_its_addresses_and_a_dead_one_does_not(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, _ = pair
    process = Ours(a, made.directory, instance())
    until("it is master", lambda: process.state() == "MASTER")
    until("the lifetime has begun to run", lambda: lifetime(a) <= 25)
    until("it has been renewed", lambda: lifetime(a) > 25)
    process.kill()
    before = lifetime(a)
    assert before <= 30
    until("it runs out", lambda: lifetime(a) < before - 2)


def test_another_host_with_the_address_is_seen_told_and_outshouted(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    process = Ours(a, made.directory, instance(garp_master_delay=0.0))
    until("it is master", lambda: process.state() == "MASTER")
    capture = Capture(made, a)
    b.ip("addr", "add", f"{VIP}/32", "dev", "eth0")
    until("it is told", lambda: process.state() == "MASTER" and process.heard[-1].conflict)
    assert process.heard[-1].conflict == f"another host ({b.mac().hex(':')}) answers for {VIP}"
    announcement = gratuitous_arp(a.mac(), VIP.packed)
    until("it has been announced again", lambda: capture.frames().count(announcement) >= 5)


def test_adverts_need_no_room_in_the_neighbour_table(pair: tuple[Switch, Host, Host]) -> None:
    """A full table of the kernel drops packets to groups silently; a permanent entry is beyond its limit.

    The limit is one for the whole machine, so that a full table cannot be had here. An interface that is
    switched off loses the entry. Neither a stop nor `pointsman detach` leaves it behind.
    """
    made, a, _ = pair

    def kept() -> bool:
        shown = a.ip("-4", "neigh", "show", "nud", "permanent", "dev", "eth0")
        return f"{GROUP} lladdr 01:00:5e:00:00:12" in shown

    process = Ours(a, made.directory, instance())
    until("the entry is there", kept)
    process.kill()
    with namespace.entered(a.namespace):
        clean_up(process.run_directory)
    assert not kept()
    process = Ours(a, made.directory, instance())
    until("the entry is there", kept)
    a.ip("link", "set", "eth0", "down")
    a.ip("link", "set", "eth0", "up")
    until("it is there again", kept)
    process.stop()
    assert not kept()


def test_another_host_with_an_ipv6_address_is_told(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    address = ipaddress.ip_address("fd00:9::9")
    entry = VirtualAddress(address=address, prefix_length=64, device="eth0")
    process = Ours(a, made.directory, instance(excluded_addresses=(entry,)))
    b.ip("addr", "add", f"{address}/64", "dev", "eth0", "nodad")
    until("it is told", lambda: process.state() == "MASTER" and process.heard[-1].conflict)
    assert process.heard[-1].conflict == f"another host ({b.mac().hex(':')}) answers for {address}"


def test_a_stalled_master_looks_before_it_speaks_and_does_not_fight(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, b = pair
    stubborn = instance(nopreempt=True)
    first = Ours(a, made.directory, stubborn)
    until("a is master", lambda: first.state() == "MASTER")
    second = Ours(b, made.directory, msgspec.structs.replace(stubborn, priority=100))
    until("b is backup", lambda: second.state() == "BACKUP")
    os.kill(first.process.pid, signal.SIGSTOP)
    until("b has taken over", lambda: second.state() == "MASTER")
    capture = Capture(made, a)
    os.kill(first.process.pid, signal.SIGCONT)
    until("a is backup", lambda: first.state() == "BACKUP")
    time.sleep(1.0)  # longer than the master-down interval: time in which nothing may happen
    assert (first.state(), second.state()) == ("BACKUP", "MASTER")
    assert [report.state for report in second.heard] == ["BACKUP", "MASTER"]
    assert a.addresses() == ["10.9.0.1/24"]
    assert gratuitous_arp(a.mac(), VIP.packed) not in capture.frames()


@pytest.mark.parametrize("kind", ["ttl", "malformed"])
def test_forged_adverts_take_nothing_away(pair: tuple[Switch, Host, Host], kind: str) -> None:
    """Adverts from beyond a router and with a wrong checksum, both with priority 255."""
    made, a, b = pair
    process = Ours(a, made.directory, instance())
    until("it is master", lambda: process.state() == "MASTER")
    payload = encode(build_advert(instance(), 255), b.address, GROUP)
    if kind == "malformed":
        payload = payload[:-1] + bytes([payload[-1] ^ 1])
    ttl = 254 if kind == "ttl" else 255
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), 0, 0, ttl, 112, 0)
    packet = head + b.address.packed + GROUP.packed
    packet = packet[:10] + struct.pack("!H", internet_checksum(packet)) + packet[12:] + payload
    with namespace.entered(b.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        for _ in range(100):
            sender.sendto(bytes.fromhex("01005e000012") + b.mac() + b"\x08\x00" + packet, ("eth0", 0x0800))
    time.sleep(0.5)  # longer than the master-down interval: time in which nothing may happen
    assert process.stop() == 0
    process.state()
    assert [report.state for report in process.heard] == ["BACKUP", "MASTER", "INIT"]
    assert f"{kind} 100" in process.log.read_text()


@pytest.mark.slow
def test_a_hundred_instances_start_together_and_are_handed_over_together(
    pair: tuple[Switch, Host, Host],
) -> None:
    """keepalived: 48 to 91 of 100 backups become master on the way; a stop takes 1.6 to 3.3 s."""
    made, a, b = pair
    many = [instance(number, advert_interval=0.5) for number in range(1, 101)]
    backups = Ours(b, made.directory, *(msgspec.structs.replace(each, priority=100) for each in many))
    masters = Ours(a, made.directory, *many)
    names = [each.name for each in many]
    until("all are masters", lambda: all(masters.state(name) == "MASTER" for name in names))
    time.sleep(2.0)  # longer than the master-down interval: time in which nothing may happen
    assert all(backups.state(name) == "BACKUP" for name in names)
    assert {report.state for report in backups.heard} == {"BACKUP"}
    captures = Capture(made, a), Capture(made, b)
    assert masters.stop() == 0
    until("all have been handed over", lambda: all(backups.state(name) == "MASTER" for name in names))
    until("all have said so", lambda: {packet[21] for packet in captures[1].adverts()} == set(range(1, 101)))
    farewells = [seen for seen, packet in captures[0].timed_adverts() if packet[22] == 0]
    begun: dict[int, float] = {}
    for seen, packet in captures[1].timed_adverts():
        begun.setdefault(packet[21], seen)
    assert max(begun.values()) - min(farewells) < 3.0, "0.3 s of skew, and all of them at once"
    assert len(a.addresses()) == 1
    assert len(b.addresses()) == 101
    counts = [len(list(group)) for _, group in itertools.groupby(report.state for report in backups.heard)]
    assert counts == [100, 100], "every instance changed once"


def test_after_lost_notifications_everything_is_checked(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    own = VirtualAddress(address=ipaddress.ip_address("10.9.0.77"), prefix_length=24, device="eth0")
    route = VirtualRoute(destination=ipaddress.ip_address("172.17.0.0"), prefix_length=16, device="eth0")
    rule = VirtualRule(family=4, preference=9000, table=100)
    static = StaticSettings(addresses=(own,), routes=(route,), rules=(rule,))
    process = Ours(a, made.directory, instance(), static=static)
    until("it is master", lambda: process.state() == "MASTER")

    def is_complete() -> bool:
        route_is_here, rule_is_here = "172.17" in a.ip("route"), "9000:" in a.ip("rule")
        return {"10.9.0.77/24", f"{VIP}/24"} <= set(a.addresses()) and route_is_here and rule_is_here

    until("all is there", is_complete)
    many, gone = made.directory / "many", made.directory / "gone"
    lines = [f"addr add 10.200.{high}.{low}/32 dev lo" for high in range(4) for low in range(250)]
    many.write_text("\n".join(lines))
    gone.write_text("\n".join(lines).replace(" add ", " del "))
    os.kill(process.process.pid, signal.SIGSTOP)
    a.ip("-b", str(many))
    for words in (f"addr del {VIP}/24", "addr del 10.9.0.77/24"):
        a.ip(*words.split(), "dev", "eth0")
    a.ip("route", "del", "172.17.0.0/16")
    a.ip("rule", "del", "priority", "9000")
    for batch in (gone, many):
        a.ip("-b", str(batch))
    os.kill(process.process.pid, signal.SIGCONT)
    until("all is there again", is_complete)
    assert "the kernel dropped notifications" in process.log.read_text()
    assert "another program has removed static address 10.9.0.77/24" in process.log.read_text()
