# SPDX-License-Identifier: Apache-2.0
"""A packet like the last accepted one is taken undecoded, and nothing else is."""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from pointsman.daemon.vrrp import instance as instance_module
from pointsman.daemon.vrrp.addresses import Context
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.state_file import StateFile
from pointsman.model.vrrp import HmacAuthentication, HmacKey, VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.links import Link
from pointsman.vrrp.admission import admit, build_advert
from pointsman.vrrp.dropped import DroppedAdverts
from pointsman.vrrp.hmac_auth import Signer
from pointsman.vrrp.wire import GROUP, decode_ipv4, encode

OWN, OTHER = (ipaddress.IPv4Address(f"10.9.0.{number}") for number in (1, 2))
INSTANCE = VrrpInstance(
    name="VI_1",
    interface="eth0",
    virtual_router_id=7,
    version=3,
    addresses=(VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0"),),
)
HMAC = HmacAuthentication(keys=(HmacKey(1, bytes(32)),), active_key=1)


def packet(
    priority: int = 150, number: int = 0, ttl: int = 255, source: ipaddress.IPv4Address = OTHER
) -> bytes:
    payload = encode(build_advert(INSTANCE, priority), source, GROUP)
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), number, 0, ttl, 112, 0xFFFF - number)
    return head + source.packed + GROUP.packed + payload


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for every packet that is looked at closely."""
    found: list[int] = []
    original: Callable[..., object] = admit

    def counting(*arguments: object) -> object:
        found.append(len(found))
        return original(*arguments)

    monkeypatch.setattr(instance_module, "admit", counting)
    return found


@pytest.fixture
def make(tmp_path: Path) -> Callable[[VrrpInstance], InstanceController]:
    links = {"eth0": Link(index=1, name="eth0", mac=bytes(6), up=True, running=True)}
    sysctls = SimpleNamespace(require=lambda *_: None)
    context = SimpleNamespace(
        netlink=None,
        links=links,
        sysctls=sysctls,
        clock=float,
        notify=lambda _: None,
        dropped=DroppedAdverts(),
    )

    def made(
        instance: VrrpInstance, deadlines: DeadlineQueue[InstanceController] | None = None
    ) -> InstanceController:
        state_file = StateFile(tmp_path, "eth0", 7)
        controller = InstanceController(
            instance, OWN, cast(Context, context), state_file, lambda _: None, deadlines or DeadlineQueue()
        )
        controller.machine.start(0.0, True)
        controller.apply_effects()
        return controller

    return made


def arrives(controller: InstanceController, data: bytes, at: float) -> None:
    if not controller.on_repeated_packet(data, at):
        controller.on_packet(decode_ipv4(data), at, data)


def test_the_same_advert_again_is_not_decoded_and_counts_as_any(
    make: Callable[[VrrpInstance], InstanceController], judged: list[int]
) -> None:
    controller = make(INSTANCE)
    for number in range(10):
        arrives(controller, packet(number=number), float(number))
    assert len(judged) == 1
    assert controller.counters["received"] == 10
    assert controller.last_advert == (OTHER, 150, 9.0)
    assert controller.deadline == pytest.approx(9 + 3 + 156 / 256)


def test_the_queue_finds_the_deadline_that_it_was_not_told(make: Callable[..., InstanceController]) -> None:
    deadlines: DeadlineQueue[InstanceController] = DeadlineQueue()
    controller = make(INSTANCE, deadlines)
    arrives(controller, packet(), 0.0)
    first = 3 + 156 / 256
    assert deadlines.first() == pytest.approx(first)
    deadlines.changed()
    arrives(controller, packet(), 3.0)
    assert deadlines.changed() == set()
    assert deadlines.first() == pytest.approx(first)
    assert deadlines.due(first) == []
    assert deadlines.first() == 6.5, "looked at once more, with others"
    assert deadlines.due(6.5) == []
    assert controller.machine.state is VrrpState.BACKUP
    assert deadlines.first() == pytest.approx(6 + 156 / 256)


@pytest.mark.parametrize(
    ("other", "dropped"),
    [
        (packet(151), ""),
        (packet(source=ipaddress.IPv4Address("10.9.0.3")), ""),
        (packet(ttl=254), "ttl"),
        (packet()[:-1] + b"\0", "malformed"),
        (packet() + bytes(8), ""),
    ],
)
def test_whatever_differs_is_looked_at(
    make: Callable[[VrrpInstance], InstanceController], judged: list[int], other: bytes, dropped: str
) -> None:
    controller = make(INSTANCE)
    arrives(controller, packet(), 0.0)
    arrives(controller, other, 1.0)
    assert len(judged) == 2
    assert [name for name in controller.counters if name != "received"] == ([dropped] if dropped else [])


def test_what_another_router_says_meanwhile_is_not_forgotten(
    make: Callable[[VrrpInstance], InstanceController], judged: list[int]
) -> None:
    """With another list of addresses, and at another interval, which a backup of version 3 learns."""
    controller = make(INSTANCE)
    arrives(controller, packet(), 0.0)
    strange = msgspec.structs.replace(INSTANCE, addresses=(), advert_interval=5.0)
    payload = encode(build_advert(strange, 160), OTHER, GROUP)
    head = packet()[:2] + struct.pack("!H", 20 + len(payload)) + packet()[4:20]
    arrives(controller, head + payload, 1.0)
    assert controller.deadline == pytest.approx(1 + 15 + 5 * 156 / 256)
    arrives(controller, packet(), 2.0)
    assert controller.deadline == pytest.approx(2 + 3 + 156 / 256)
    assert len(judged) == 3


def test_other_settings_judge_anew(
    make: Callable[[VrrpInstance], InstanceController], judged: list[int]
) -> None:
    controller = make(INSTANCE)
    arrives(controller, packet(), 0.0)
    controller.reconfigure(msgspec.structs.replace(INSTANCE, unicast_peers=(OTHER,)), OWN)
    arrives(controller, packet(), 1.0)
    assert len(judged) == 2
    assert controller.counters["multicast_unicast_mode"] == 1


def test_an_advert_that_is_signed_is_never_taken_for_granted(
    make: Callable[[VrrpInstance], InstanceController], judged: list[int]
) -> None:
    controller = make(msgspec.structs.replace(INSTANCE, hmac=HMAC))
    signed = Signer(HMAC).sign(packet()[20:], OTHER, GROUP, time.time())
    data = packet()[:2] + struct.pack("!H", 20 + len(signed)) + packet()[4:20] + signed
    for at in (0.0, 1.0):
        arrives(controller, data, at)
    assert len(judged) == 2
    assert controller.counters["replay"] == 1
