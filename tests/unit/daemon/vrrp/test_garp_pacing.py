# SPDX-License-Identifier: Apache-2.0
"""Pauses between announcements: each address once, then again, never closer than the pause."""

from __future__ import annotations

import ipaddress
from typing import cast

from pointsman.daemon.vrrp.garp_pacing import GarpPacer
from pointsman.model.tracking import AnnouncementPauses
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.arp import Announcer


def entry(address: str, device: str = "eth0") -> VirtualAddress:
    return VirtualAddress(address=ipaddress.ip_address(address), prefix_length=24, device=device)


ONE, TWO, SIX = entry("10.0.0.1"), entry("10.0.0.2"), entry("2001:db8::1")


class Wire:
    """Keeps (time, address, packets) of what is announced."""

    def __init__(self, *pauses: AnnouncementPauses) -> None:
        self.now = 0.0
        self.sent: list[tuple[float, str, int]] = []
        self.pacer = GarpPacer(cast(Announcer, self), {}, lambda: self.now)
        self.pacer.reconfigure(pauses)

    def announce(self, _links: object, entries: list[VirtualAddress], repeat: int) -> None:
        self.sent += [(self.now, str(each.address), repeat) for each in entries]

    def run(self) -> list[tuple[float, str, int]]:
        """Until nothing waits."""
        while (deadline := self.pacer.deadline) is not None:
            self.now = max(self.now, deadline)
            self.pacer.advance(self.now)
        return self.sent


def test_without_pauses_everything_goes_at_once() -> None:
    wire = Wire()
    wire.pacer.announce([ONE, SIX], 5, {})
    assert wire.sent == [(0.0, "10.0.0.1", 5), (0.0, "2001:db8::1", 5)]
    assert wire.pacer.deadline is None


def test_each_address_first_once_and_each_version_with_its_own_pause() -> None:
    wire = Wire(AnnouncementPauses(arp=1.0))
    wire.pacer.announce([ONE, TWO, SIX], 2, {})
    assert wire.run() == [
        *((0.0, "2001:db8::1", 2), (0.0, "10.0.0.1", 1)),
        *((1.0, "10.0.0.2", 1), (2.0, "10.0.0.1", 1), (3.0, "10.0.0.2", 1)),
    ]


def test_interfaces_of_a_group_share_the_pause_and_others_have_none() -> None:
    wire = Wire(AnnouncementPauses(interfaces=("eth0", "eth1"), arp=1.0))
    entries = [ONE, entry("10.1.0.1", "eth1"), entry("10.2.0.1", "eth2"), entry("10.3.0.1", "vrrp.1")]
    wire.pacer.announce(entries, 1, {"vrrp.1": "eth1"})
    assert [(at, address) for at, address, _ in wire.run()] == [
        *((0.0, "10.2.0.1"), (0.0, "10.0.0.1"), (1.0, "10.1.0.1"), (2.0, "10.3.0.1"))
    ]


def test_what_has_gone_is_not_announced_and_a_new_burst_takes_the_place_of_an_old_one() -> None:
    wire = Wire(AnnouncementPauses(arp=1.0))
    wire.pacer.announce([ONE, TWO], 3, {})
    wire.pacer.cancel([ONE])
    wire.pacer.announce([TWO], 2, {})
    assert [address for _, address, _ in wire.run()] == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]
    wire.now = 10.0
    wire.pacer.announce([TWO], 0, {})
    assert wire.pacer.deadline is None
