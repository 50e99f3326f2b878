# SPDX-License-Identifier: Apache-2.0
"""Adverts that do not fit are reported with their sender and what was expected, also of a wrong VRID."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from pointsman.daemon.vrrp.addresses import Context
from pointsman.daemon.vrrp.advert_receiver import MAX_JUDGED, AdvertReceiver
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.state_file import StateFile
from pointsman.model.vrrp import PassAuthentication, VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.links import Link
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.dropped import MAX_KEPT, OTHERS, Dropped, DroppedAdverts
from pointsman.vrrp.reannouncing import HeardRequests
from pointsman.vrrp.wire import GROUP, decode_ipv4, encode

OWN, PEER, STRANGER = (ipaddress.IPv4Address(f"10.9.0.{number}") for number in (1, 2, 3))
HERE = VrrpInstance(
    name="VI_1",
    interface="eth0",
    virtual_router_id=51,
    version=2,
    authentication=PassAuthentication("secret"),
    addresses=(VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0"),),
)
ELSEWHERE = (VirtualAddress(address=ipaddress.ip_address("10.9.0.200"), prefix_length=24, device="eth0"),)


def packet(sender: VrrpInstance, source: ipaddress.IPv4Address = PEER) -> bytes:
    destination = OWN if sender.unicast_peers else GROUP
    payload = encode(build_advert(sender, 100), source, destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), 0, 0, 255, 112, 0)
    return head + source.packed + destination.packed + payload


class Segment:
    """A receiver with one instance, and the dropped adverts that it reports."""

    def __init__(self, instance: VrrpInstance, directory: Path) -> None:
        self.book = DroppedAdverts()
        links = {"eth0": Link(index=1, name="eth0", mac=bytes(6), up=True, running=True)}
        context = SimpleNamespace(
            netlink=None,
            links=links,
            sysctls=SimpleNamespace(require=lambda *_: None),
            clock=float,
            notify=lambda _: None,
            dropped=self.book,
        )
        self.receiver = AdvertReceiver("eth0", OWN if instance.unicast_peers else None, 4)
        self.controller = InstanceController(
            *(instance, OWN, cast(Context, context), StateFile(directory, "eth0", 51)),
            *(lambda _: None, DeadlineQueue()),
        )
        self.receiver.add(self.controller)
        self.controller.machine.start(0.0, True)

    def arrives(self, data: bytes, at: float = 0.0) -> bool:
        """Return True if the packet was handled without decoding it."""
        if self.receiver._handle_cheaply(data, at):
            return True
        arrival = SimpleNamespace(datagram=decode_ipv4(data), time=at, packet=data)
        fake = SimpleNamespace(receive=lambda *_: [arrival])
        self.receiver._read(cast(Any, fake))
        return False


@pytest.fixture
def segment(tmp_path: Path) -> Callable[[VrrpInstance], Segment]:
    return lambda instance: Segment(instance, tmp_path)


@pytest.mark.parametrize("peers", [(), (PEER,)], ids=["multicast", "unicast"])
@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"version": 3}, "version", "VRRP version 3, expecting 2"),
        (
            {"authentication": PassAuthentication("other")},
            "password",
            "received an invalid password (auth_pass)",
        ),
        ({"authentication": None}, "authentication_type", "received auth type 0, expecting 1"),
        ({"advert_interval": 5.0}, "advert_interval", "advertisement interval 5 s, expecting 1 s"),
        ({"virtual_router_id": 52}, "virtual_router_id", "virtual_router_id 52, expecting 51"),
    ],
)
def test_what_came_and_what_was_expected(
    segment: Callable[[VrrpInstance], Segment],
    caplog: pytest.LogCaptureFixture,
    peers: tuple[ipaddress.IPv4Address, ...],
    changes: dict[str, object],
    reason: str,
    text: str,
) -> None:
    here = segment(msgspec.structs.replace(HERE, unicast_peers=peers))
    there = msgspec.structs.replace(HERE, unicast_peers=(OWN,) if peers else (), **changes)
    for second in range(3):
        here.arrives(packet(there), float(second))
    assert here.book.due(0.0) == [Dropped("VI_1", str(PEER), reason, text, 3)]
    assert caplog.messages == [f"(VI_1) from {PEER}: {text}"]


def test_another_group_on_the_segment_is_not_told(segment: Callable[[VrrpInstance], Segment]) -> None:
    here = segment(HERE)
    others = packet(msgspec.structs.replace(HERE, virtual_router_id=9, addresses=ELSEWHERE), STRANGER)
    assert not here.arrives(others), "it is looked at once"
    assert here.arrives(others) and here.arrives(others, 59.0)
    assert not here.arrives(others, 61.0), "it can change"
    assert here.book.due(0.0) == []


def test_another_group_with_the_same_number_is_not_told(segment: Callable[[VrrpInstance], Segment]) -> None:
    here = segment(HERE)
    here.arrives(packet(msgspec.structs.replace(HERE, version=3, addresses=ELSEWHERE), STRANGER))
    assert here.controller.counters["version"] == 1
    assert here.book.due(0.0) == []


def test_a_peer_with_one_instance_more_is_not_told(segment: Callable[[VrrpInstance], Segment]) -> None:
    here = segment(msgspec.structs.replace(HERE, unicast_peers=(PEER,)))
    there = msgspec.structs.replace(HERE, unicast_peers=(OWN,))
    here.arrives(packet(there))
    here.arrives(packet(msgspec.structs.replace(there, virtual_router_id=52, addresses=ELSEWHERE)))
    assert here.book.due(0.0) == []


@pytest.mark.parametrize("peers", [(), (PEER,)], ids=["multicast", "unicast"])
def test_a_peer_that_changes_its_number_is_told(
    segment: Callable[[VrrpInstance], Segment], peers: tuple[ipaddress.IPv4Address, ...]
) -> None:
    here = segment(msgspec.structs.replace(HERE, unicast_peers=peers))
    there = msgspec.structs.replace(HERE, unicast_peers=(OWN,) if peers else ())
    here.arrives(packet(there))
    changed = msgspec.structs.replace(there, virtual_router_id=52)
    here.arrives(packet(changed), 1.0)
    assert here.book.due(1.0) == [], "it may have both"
    here.arrives(packet(changed), 100.0)
    text = "virtual_router_id 52, expecting 51"
    assert here.book.due(100.0) == [Dropped("VI_1", str(PEER), "virtual_router_id", text, 1)]


def test_forged_senders_are_bounded(segment: Callable[[VrrpInstance], Segment]) -> None:
    here, wrong = segment(HERE), msgspec.structs.replace(HERE, virtual_router_id=52)
    for number in range(2 * MAX_JUDGED):
        here.arrives(packet(wrong, ipaddress.IPv4Address("10.9.1.0") + number))
    found = here.book.due(0.0)
    assert len(found) == MAX_KEPT + 1 and found[-1].sender == OTHERS
    assert len(here.receiver._intended) == MAX_JUDGED


def test_reports_come_once_a_second_while_there_are_more() -> None:
    book = DroppedAdverts()
    book.note("VI_1", "10.9.0.2", "password", "text")
    assert [each.count for each in book.due(10.0)] == [1]
    book.note_again("VI_1", "10.9.0.2", "password")
    book.note_again("VI_1", "10.9.0.3", "password")
    assert book.due(10.9) == []
    assert [each.count for each in book.due(11.0)] == [2]
    assert book.due(12.0) == []
    book.report_again()
    assert [each.count for each in book.due(13.0)] == [2]
    book.forget("VI_1")
    book.report_again()
    assert book.due(14.0) == []


def test_requests_of_a_former_master_are_no_rival(
    segment: Callable[[VrrpInstance], Segment], caplog: pytest.LogCaptureFixture
) -> None:
    """After a planned switchover the new master warned of another router with priority 1."""
    controller = segment(HERE).controller
    controller.machine.state = VrrpState.MASTER
    caplog.set_level("INFO", "vrrp")
    for _ in range(3):
        controller._on_rival(PEER, 1)
    asked = ("INFO", f"(VI_1) {PEER} asks this new master to announce its addresses")
    rival = f"(VI_1) Master received advert from {PEER} with lower or equal priority 1, ours 100"
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        *(asked, asked),
        ("WARNING", rival),
    ], "a router that has this priority itself goes on"


def test_requests_count_anew_after_a_while() -> None:
    heard = HeardRequests()
    assert [heard.is_request(time, 1, 1.0) for time in (0.0, 0.5, 1.0)] == [True, True, False]
    assert heard.is_request(9.0, 1, 1.0)
    assert not heard.is_request(9.1, 100, 1.0)
