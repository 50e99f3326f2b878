# SPDX-License-Identifier: Apache-2.0
"""Every way to speak VRRP, with Debian's keepalived as the other half, all at once: 40 virtual routers."""

from __future__ import annotations

import ipaddress
import itertools
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived, needs_keepalived
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.vrrp import AhAuthentication, PassAuthentication, VirtualAddress, VrrpInstance
from pointsman.net.addresses import addresses
from pointsman.net.netlink import NetlinkSocket

pytestmark = [pytest.mark.root, pytest.mark.slow, needs_keepalived]

PASSWORD = "a-secret"


class Way(NamedTuple):
    """One virtual router of the matrix."""

    router: int
    version: int
    family: int
    auth: str
    unicast: bool
    nopreempt: bool
    ours_better: bool

    @property
    def name(self) -> str:
        return f"VI_{self.router}"

    @property
    def vip(self) -> str:
        return f"10.9.1.{self.router}" if self.family == 4 else f"fd00::1:{self.router}"


SPEECH = [(2, 4, ""), (2, 4, "PASS"), (2, 4, "AH"), (3, 4, ""), (3, 6, "")]
WAYS = [
    Way(number, *speech, unicast, nopreempt, ours_better)
    for number, (speech, unicast, nopreempt, ours_better) in enumerate(
        itertools.product(SPEECH, (False, True), (False, True), (False, True)), 1
    )
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        a, b = made.host("a", "10.9.0.1/16"), made.host("b", "10.9.0.2/16")
        for number, host in enumerate((a, b), 1):
            host.ip("addr", "add", f"fd00::{number}/64", "dev", "eth0", "nodad")
        yield made, a, b


def own(host: Host, family: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return host.address if family == 4 else ipaddress.ip_address(f"fd00::{int(host.address) & 0xFF}")


def ours(made: Switch, host: Host, peer: Host) -> Ours:
    authentications = {"": None, "PASS": PassAuthentication(PASSWORD), "AH": AhAuthentication(PASSWORD)}
    return Ours(
        host,
        made.directory,
        *(
            VrrpInstance(
                name=way.name,
                interface="eth0",
                virtual_router_id=way.router,
                version=way.version,
                advert_interval=1.0 if way.version == 2 else 0.5,
                priority=200 if way.ours_better else 100,
                nopreempt=way.nopreempt,
                authentication=authentications[way.auth],
                unicast_source=own(host, way.family) if way.unicast else None,
                unicast_peers=(own(peer, way.family),) if way.unicast else (),
                addresses=(
                    VirtualAddress(
                        address=ipaddress.ip_address(way.vip),
                        prefix_length=32 if way.family == 4 else 128,
                        device="eth0",
                    ),
                ),
            )
            for way in WAYS
        ),
    )


def keepalived(made: Switch, host: Host, peer: Host) -> Keepalived:
    blocks = []
    for way in WAYS:
        lines = [f"version {way.version}", f"advert_int {1 if way.version == 2 else 0.5}"]
        if way.auth:
            lines.append(f"authentication {{\n auth_type {way.auth}\n auth_pass {PASSWORD}\n }}")
        if way.unicast:
            lines.append(f"unicast_src_ip {own(host, way.family)}")
            lines.append(f"unicast_peer {{\n {own(peer, way.family)}\n }}")
        if way.nopreempt:
            lines.append("nopreempt")
        blocks.append(
            f"vrrp_instance {way.name} {{\n state BACKUP\n interface eth0\n virtual_router_id {way.router}\n "
            f"priority {100 if way.ours_better else 200}\n {chr(10).join(lines)}\n"
            f" virtual_ipaddress {{\n {way.vip}\n }}\n}}\n"
        )
    return Keepalived(host, made.directory, "".join(blocks))


def masters(host: Host) -> set[int]:
    """The virtual routers whose addresses this host has."""
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        present = {found.address for found in addresses(netlink)}
    return {way.router for way in WAYS if ipaddress.ip_address(way.vip) in present}


def settled(a: Host, b: Host, expected: set[int], alone: bool = False) -> None:
    """Until a is master of exactly these, and b of the others, unless a is alone."""
    rest = set() if alone else {way.router for way in WAYS} - expected

    def agree() -> bool:
        return masters(a) == expected and masters(b) == rest

    try:
        until("they agree", agree)
    except AssertionError as error:
        wrong = (masters(a) ^ expected) | (masters(b) ^ rest)
        raise AssertionError([way for way in WAYS if way.router in wrong]) from error


def test_either_may_be_master_in_every_way(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    captures = Capture(made, a), Capture(made, b)
    every = {way.router for way in WAYS}
    better = {way.router for way in WAYS if way.ours_better}
    preempting = {way.router for way in WAYS if not way.nopreempt}
    mine = ours(made, a, b)
    settled(a, b, every, alone=True)
    its = keepalived(made, b, a)
    settled(a, b, every - (preempting - better))
    states = {way.router: mine.state(way.name) for way in WAYS}
    expected = {each: "BACKUP" if each in preempting - better else "MASTER" for each in every}
    assert states == expected

    assert mine.stop() == 0
    settled(a, b, set())
    mine = ours(made, a, b)
    settled(a, b, better & preempting)
    time.sleep(1.5)  # longer than an advert interval: nobody may change his mind
    settled(a, b, better & preempting)
    its.stop()
    settled(a, b, every, alone=True)
    same_on_the_wire(*captures)


def same_on_the_wire(ours_frames: Capture, its_frames: Capture) -> None:
    """Each way's adverts are the same, byte for byte, but for what belongs to the sender or the moment."""
    found = [adverts(capture) for capture in (ours_frames, its_frames)]
    for way in WAYS:
        assert found[0].get(way.router), way
        assert found[0][way.router] == found[1].get(way.router), way


def adverts(capture: Capture) -> dict[int, set[bytes]]:
    """Return the adverts of each virtual router without the fields that may differ."""
    left: dict[int, set[bytes]] = {}
    for frame in capture.all_frames():
        packet = frame[14:]
        if frame[12:14] == b"\x08\x00" and packet[9] in (51, 112):
            (length,) = struct.unpack_from("!H", packet, 2)
            head, body = bytearray(packet[:20]), packet[20:length]
            head[4:6] = head[10:12] = b"--"  # identification and checksum
            head[12:20] = _who(packet[16:20])
        elif frame[12:14] == b"\x86\xdd" and packet[6] == 112:
            head, body = bytearray(packet[:40]), packet[40:]
            head[8:40] = _who(packet[24:40])
            if head[8:] == b"unicast-":
                head[7] = 255  # keepalived 2.2.7 sends 64 there
            head[1:4] = bytes(3) if head[0] == 0x6C else head[1:4]  # the kernel's flow label
        else:
            continue
        header = b""
        if packet[9] == 51 and head[0] == 0x45:
            header, body = body[:4], body[24:]  # the rest: SPI, sequence, ICV
        if body[2] in (0, 1):
            continue  # farewells, and ours that ask the winner to announce itself
        plain = bytearray(body)
        plain[2] = 0  # the priority
        plain[6:8] = b"--"  # the checksum
        left.setdefault(body[1], set()).add(bytes(head) + header + bytes(plain))
    return left


def _who(destination: bytes) -> bytes:
    """Instead of the addresses: to the group, or to the other one."""
    return (
        b"group---"
        if destination in (b"\xe0\x00\x00\x12", bytes.fromhex("ff02" + "00" * 13 + "12"))
        else b"unicast-"
    )
