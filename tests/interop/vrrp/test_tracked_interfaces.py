# SPDX-License-Identifier: Apache-2.0
"""Tracked interfaces: late, down, without carrier, renamed, deleted, made anew; as faults and as weights."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.model.tracking import Tracked, TrackKind
from pointsman.model.vrrp import VirtualAddress

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[Switch, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24")


def tracking(weight: int, reverse: bool = False) -> Tracked:
    return Tracked(kind=TrackKind.INTERFACE, name="eth1", weight=weight, reverse=reverse)


def make(host: Host) -> None:
    host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    host.ip("link", "set", "far1", "up")
    host.ip("link", "set", "eth1", "up")


def test_whatever_takes_a_tracked_interface_away_is_a_fault_until_it_is_back(
    host: tuple[Switch, Host],
) -> None:
    made, a = host
    process = Ours(a, made.directory, instance(tracked=(tracking(0),)))
    until("it waits for an interface that comes late", lambda: process.state() == "FAULT")
    make(a)
    until("it is master", lambda: process.state() == "MASTER")
    for gone, back in (
        (["link set eth1 down"], ["link set eth1 up"]),
        (["link set far1 down"], ["link set far1 up"]),
        (["link set eth1 down", "link set eth1 name other", "link set other up"], ["link set other down"]),
        (["link del far1"], []),
    ):
        for words in gone:
            a.ip(*words.split())
        until(f"{gone[-1]} is a fault", lambda: process.state() == "FAULT")
        assert a.addresses() == ["10.9.0.1/24"]
        assert process.heard[-1].reason == "interface eth1 is down"
        for words in back:
            a.ip(*words.split())
        if "other" in "".join(gone):
            a.ip("link", "set", "other", "name", "eth1")
            a.ip("link", "set", "eth1", "up")
        if not back:
            make(a)
        until(f"after {gone[-1]} it comes back", lambda: process.state() == "MASTER")


def test_an_interface_of_its_addresses_that_goes_is_a_fault(host: tuple[Switch, Host]) -> None:
    made, a = host
    make(a)
    excluded = VirtualAddress(address=ipaddress.ip_address("10.8.0.100"), prefix_length=24, device="eth1")
    process = Ours(a, made.directory, instance(excluded_addresses=(excluded,)))
    until("it is master", lambda: process.state() == "MASTER")
    a.ip("link", "set", "far1", "down")
    until("no carrier is a fault", lambda: process.state() == "FAULT")
    assert process.heard[-1].reason == "interface eth1 is down"
    a.ip("link", "set", "far1", "up")
    until("it comes back", lambda: process.state() == "MASTER")
    a.ip("link", "del", "far1")
    until("a missing one is a fault", lambda: process.state() == "FAULT")
    assert a.addresses() == ["10.9.0.1/24"]
    assert process.stop() == 0


def test_an_instance_that_does_not_track_its_interface_serves_on_the_others(
    host: tuple[Switch, Host],
) -> None:
    """A cable between two directors has no carrier when the other one is off."""
    made, a = host
    make(a)
    elsewhere = VirtualAddress(address=ipaddress.ip_address("10.8.0.100"), prefix_length=24, device="eth1")
    process = Ours(a, made.directory, instance(addresses=(elsewhere,), tracks_interface=False))
    until("it is master", lambda: process.state() == "MASTER")
    a.ip("link", "set", "eth0", "down")
    a.ip("link", "set", "eth1", "down")
    until("its other interface counts", lambda: process.state() == "FAULT")
    assert process.heard[-1].reason == "interface eth1 is down"
    a.ip("link", "set", "eth1", "up")
    until("it serves without its own", lambda: process.state() == "MASTER")
    until("and has its address", lambda: "10.8.0.100" in a.ip("-br", "address", "show", "dev", "eth1"))
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("weight", "reverse", "up", "down"),
    [(20, False, 220, 200), (-20, False, 200, 180), (20, True, 180, 200), (-20, True, 200, 220)],
)
def test_weights_count_as_keepalived_counts_them(
    host: tuple[Switch, Host], weight: int, reverse: bool, up: int, down: int
) -> None:
    made, a = host
    make(a)
    process = Ours(a, made.directory, instance(tracked=(tracking(weight, reverse),)))
    until("it is master", lambda: process.state() == "MASTER")
    assert process.states["VI_1"].priority == up
    a.ip("link", "set", "eth1", "down")
    until("it counts", lambda: process.state() == "MASTER" and process.states["VI_1"].priority == down)
    a.ip("link", "set", "eth1", "up")
    until("it counts again", lambda: process.state() == "MASTER" and process.states["VI_1"].priority == up)
