# SPDX-License-Identifier: Apache-2.0
"""The VRRP process on real interfaces, without a peer of another make."""

from __future__ import annotations

import ipaddress
import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance, refused
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.control import messages
from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.lab import namespace
from pointsman.model.routing import VirtualRoute
from pointsman.model.vrrp import VirtualInterface, VrrpInstance
from pointsman.net import virtual_links
from pointsman.net.addresses import IFA_PROTO_OURS, addresses
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.wire import GROUP, encode

pytestmark = pytest.mark.root


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


def master(made: Switch, host: Host, *instances: VrrpInstance) -> Ours:
    process = Ours(host, made.directory, *(instances or (instance(),)))
    until("it is master", lambda: process.state() == "MASTER")
    return process


def advertise(host: Host, priority: int, rival: VrrpInstance) -> None:
    """One advert from this host, as a router with this configuration sends it."""
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        sender = AdvertSocket(links(netlink)["eth0"], None)
    sender.send(encode(build_advert(rival, priority), host.address, GROUP), host.address, GROUP)
    sender.close()


def test_master_bears_marked_addresses_and_a_stop_removes_them(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    process = master(made, a)
    assert a.addresses() == ["10.9.0.1/24", "10.9.0.100/24"]
    with namespace.entered(a.namespace), NetlinkSocket() as netlink:
        marks = {str(found.address): found.proto for found in addresses(netlink)}
    assert marks["10.9.0.100"] == IFA_PROTO_OURS
    assert marks["10.9.0.1"] != IFA_PROTO_OURS
    assert process.stop() == 0
    assert a.addresses() == ["10.9.0.1/24"]
    assert list(process.run_directory.iterdir()) == []


def test_the_director_hears_every_change_and_may_ask_again(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    process = master(made, a)
    assert [(report.state, report.holds_addresses) for report in process.heard] == [
        ("BACKUP", False),
        ("MASTER", True),
    ]
    process.channel.send(messages.encode(messages.Resync()))
    until("it has told again", lambda: process.state() == "MASTER" and len(process.heard) == 3)
    assert process.heard[2] == process.heard[1]
    process.stop()
    assert process.state() == "INIT"


def test_a_director_that_does_not_listen_delays_no_advert(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    process = Ours(a, made.directory, instance())
    capture = Capture(made, a)
    until("it has taken its address", lambda: "10.9.0.100/24" in a.addresses())
    for _ in range(300):
        process.channel.send(messages.encode(messages.Resync()))  # each is answered, nothing is read
        time.sleep(0.002)
    count = len(capture.adverts())
    until("adverts go on", lambda: len(capture.adverts()) > count + 5)
    assert capture.longest_pause() < 1.0
    assert process.state() == "MASTER"


def test_a_removed_address_is_put_back(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    process = master(made, a)
    a.ip("addr", "del", "10.9.0.100/24", "dev", "eth0")
    until("it is back", lambda: "10.9.0.100/24" in a.addresses())
    a.ip("addr", "del", "10.9.0.100/24", "dev", "eth0")
    until("it is back again", lambda: "10.9.0.100/24" in a.addresses())
    assert process.log.read_text().count("another program has removed 10.9.0.100") == 2


def test_routes_come_and_go_with_mastership(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    moving = (
        VirtualRoute(
            destination=ipaddress.ip_address("192.0.2.0"),
            prefix_length=24,
            gateway=ipaddress.ip_address("10.9.0.254"),
            source=ipaddress.ip_address("10.9.0.100"),
            table=1000,
        ),
        VirtualRoute(kind="blackhole", destination=ipaddress.ip_address("198.51.100.0"), prefix_length=24),
    )
    process = master(made, a, instance(routes=moving))
    until("they are there", lambda: "198.51.100.0" in a.ip("route", "show", "proto", "keepalived"))
    (line,) = a.ip("route", "show", "table", "1000").splitlines()
    expected = "192.0.2.0/24 via 10.9.0.254 dev eth0 proto keepalived src 10.9.0.100"
    assert " ".join(line.split()) == expected
    assert "blackhole 198.51.100.0/24" in a.ip("route", "show", "proto", "keepalived")
    assert process.stop() == 0
    assert a.ip("route", "show", "proto", "keepalived", "table", "all") == ""
    assert "cannot" not in process.log.read_text()


def test_carrier_loss_is_fault_and_lets_go_of_the_address(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    process = master(made, a)
    a.plug(False)
    until("it is in FAULT", lambda: process.state() == "FAULT")
    until("the address is gone", lambda: a.addresses() == ["10.9.0.1/24"])
    a.plug(True)
    until("it is master again", lambda: process.state() == "MASTER")
    a.ip("link", "set", "eth0", "down")
    until("it is in FAULT again", lambda: process.state() == "FAULT")
    assert "cannot" not in process.log.read_text(), "what follows from an interface that is down is not said"


def test_an_interface_that_is_deleted_and_made_anew(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    process = master(made, a)
    a.ip("link", "del", "eth0")
    until("it is in FAULT", lambda: process.state() == "FAULT")
    a.ip("link", "add", "eth0", "type", "veth", "peer", "name", "far")
    a.ip("addr", "add", "10.9.0.1/24", "dev", "eth0")
    a.ip("link", "set", "far", "up")
    a.ip("link", "set", "eth0", "up")
    until("it is master again", lambda: process.state() == "MASTER")
    assert "10.9.0.100/24" in a.addresses()


def test_a_late_restart_waits_with_the_address_in_place_until_another_master_is_heard(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, b = pair
    slow = instance(priority=100, advert_interval=2.0)
    first = Ours(a, made.directory, msgspec.structs.replace(slow, advert_interval=0.1))
    until("it is master", lambda: first.state() == "MASTER")
    first.kill()
    record = first.run_directory / "vrrp-eth0-1.state"
    record.write_bytes(record.read_bytes()[:8] + bytes(8))  # last advert: at boot
    second = Ours(a, made.directory, slow)
    until("it is backup", lambda: second.state() == "BACKUP")
    assert "10.9.0.100/24" in a.addresses()
    assert second.heard[-1].holds_addresses
    advertise(b, 200, slow)
    until("the address is gone", lambda: a.addresses() == ["10.9.0.1/24"])
    assert second.state() == "BACKUP"


def test_addresses_of_a_former_configuration_are_removed(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    master(made, a, instance(1), instance(2)).kill()
    assert "10.9.0.101/24" in a.addresses()
    master(made, a, instance(1))
    assert a.addresses() == ["10.9.0.1/24", "10.9.0.100/24"]


def test_a_stalled_backup_makes_no_false_master(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    master(made, a)
    backup = Ours(b, made.directory, instance(priority=100))
    until("it is backup", lambda: backup.state() == "BACKUP")
    for _ in range(5):
        os.kill(backup.process.pid, signal.SIGSTOP)
        time.sleep(0.6)  # longer than its master-down interval of 0.36 s
        os.kill(backup.process.pid, signal.SIGCONT)
        time.sleep(0.2)
    assert backup.state() == "BACKUP"
    assert [report.state for report in backup.heard] == ["BACKUP"]


def test_twenty_instances_share_a_socket_and_stop_together(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    many = [instance(number) for number in range(1, 21)]
    masters = master(made, a, *many)
    backups = Ours(b, made.directory, *(msgspec.structs.replace(each, priority=100) for each in many))
    names = [each.name for each in many]
    until("all are backups", lambda: all(backups.state(name) == "BACKUP" for name in names))
    until("all are masters", lambda: all(masters.state(name) == "MASTER" for name in names))
    assert len(a.addresses()) == 21
    captures = Capture(made, a), Capture(made, b)
    assert masters.stop() == 0
    until("all have been handed over", lambda: all(backups.state(name) == "MASTER" for name in names))
    until("all have said so", lambda: {packet[21] for packet in captures[1].adverts()} == set(range(1, 21)))
    farewells = [seen for seen, packet in captures[0].timed_adverts() if packet[22] == 0]
    begun: dict[int, float] = {}
    for seen, packet in captures[1].timed_adverts():
        begun.setdefault(packet[21], seen)
    assert max(begun.values()) - min(farewells) < 1.5
    assert len(b.addresses()) == 21
    counts = [len(list(group)) for _, group in itertools.groupby(report.state for report in backups.heard)]
    assert counts == [20, 20], "every instance changed once"


def test_hostile_adverts_change_nothing_and_are_logged_once(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    process = master(made, a)
    with namespace.entered(b.namespace), NetlinkSocket() as netlink:
        sender = AdvertSocket(links(netlink)["eth0"], None)
    good = encode(build_advert(instance(), 255), b.address, GROUP)
    other = encode(build_advert(instance(version=2, advert_interval=1.0), 255), b.address, GROUP)
    for count in range(2000):
        for payload in (good[:7], good[:-1], good + b"\0", b"\x31", b"", other, bytes([count % 256]) * 40):
            sender.send(payload, b.address, GROUP)
    sender.close()
    capture = Capture(made, a)
    until("adverts go on", lambda: len(capture.adverts()) > 5)
    assert capture.longest_pause() < 1.0
    assert process.state() == "MASTER"
    assert [report.state for report in process.heard] == ["BACKUP", "MASTER"]
    text = process.log.read_text()
    assert text.count("too few for a VRRP header") == 1
    assert text.count("VRRP version 2, expecting 3") == 1


def test_a_missing_interface_is_one_clear_message_and_nothing_has_changed(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, _ = pair
    said = refused(Ours(a, made.directory, instance(), instance(2, interface="eth9")))
    assert "vrrp_instance VI_2: interface eth9 does not exist (there are: eth0, lo)" in said
    assert a.addresses() == ["10.9.0.1/24"]
    assert not (made.directory / "run-a").exists()


def test_a_restarted_process_runs_what_it_can_and_the_rest_when_its_interface_comes(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, _ = pair
    late = instance(2, interface="eth9", addresses=())
    unicast = instance(3, interface="eth9", addresses=(), unicast_peers=(ipaddress.IPv4Address("10.8.0.2"),))
    process = Ours(a, made.directory, instance(), late, unicast, patient=True)
    until("the other is master", lambda: process.state() == "MASTER")
    assert (process.state("VI_2"), process.state("VI_3")) == ("FAULT", "FAULT")
    a.ip("link", "add", "eth9", "type", "veth", "peer", "name", "eth9-peer")
    a.ip("link", "set", "eth9-peer", "up")
    a.ip("link", "set", "eth9", "up")
    time.sleep(0.2)
    assert process.state("VI_2") == "FAULT", "there is no address to send from yet"
    a.ip("addr", "add", "10.8.0.1/24", "dev", "eth9")
    until("they work", lambda: process.state("VI_2") == process.state("VI_3") == "MASTER")
    assert process.stop() == 0


def test_a_unicast_instance_recovers_when_its_address_comes_back_after_its_link(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, b = pair
    process = master(made, a, instance(unicast_source=a.address, unicast_peers=(b.address,)))
    a.ip("addr", "flush", "dev", "eth0")
    a.ip("link", "set", "eth0", "down")
    until("it has seen the link go down", lambda: process.state() == "FAULT")
    # The interface comes back as another one, so that the socket is made anew, before its address is there.
    a.ip("link", "del", "eth0")
    a.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0-peer")
    a.ip("link", "set", "eth0-peer", "up")
    a.ip("link", "set", "eth0", "up")
    until("it has tried", lambda: "it is no address of this host" in process.log.read_text())
    # The kernel tells of an address before it is local; here that takes longer, and nobody tells when it is.
    batch = made.directory / "batch"
    local = "local 10.9.0.1 dev eth0 table local"
    batch.write_text(f"addr add 10.9.0.1/24 dev eth0\nroute del {local}\n")
    a.ip("-batch", str(batch))
    time.sleep(0.2)
    a.ip(*f"route add {local} proto kernel scope host src 10.9.0.1".split())
    until("it is master again", lambda: process.state() == "MASTER")


def test_a_router_id_that_is_used_twice_is_one_clear_message(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    said = refused(Ours(a, made.directory, instance(1), instance(2, virtual_router_id=1)))
    assert "virtual_router_id 1 is used twice on eth0; give VI_2 another one" in said


def test_what_this_kernel_cannot_make_is_told_before_anything_changes(
    pair: tuple[Switch, Host, Host],
) -> None:
    """An ipvlan where there is none; a VRF that the interface is not in."""
    made, a, _ = pair
    assert "interface eth0 is not in VRF red; do: ip link set eth0 master red" in refused(
        Ours(a, made.directory, instance(vrf="red"))
    )
    with NetlinkSocket() as netlink:
        assert virtual_links.supports_kind(netlink, "macvlan")
        if virtual_links.supports_kind(netlink, "ipvlan"):
            pytest.skip("this kernel has ipvlan")
    own = VirtualInterface(name="vrrp.1", base="eth0", mode="bridge")
    said = refused(Ours(a, made.directory, instance(own_interface=own)))
    assert "this kernel has no ipvlan (use_ipvlan)" in said and "write use_vmac" in said
