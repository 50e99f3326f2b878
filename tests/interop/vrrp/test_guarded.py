# SPDX-License-Identifier: Apache-2.0
"""Authenticated adverts between two processes, other groups, and every packet that is not to be trusted."""

from __future__ import annotations

import ipaddress
import re
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

from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.lab import namespace
from pointsman.model.vrrp import (
    AhAuthentication,
    HmacAuthentication,
    HmacKey,
    PassAuthentication,
    VirtualAddress,
    VrrpInstance,
)
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket
from pointsman.packets.checksum import internet_checksum
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.ah import AhCodec
from pointsman.vrrp.hmac_auth import Signer
from pointsman.vrrp.wire import GROUP, encode

pytestmark = [pytest.mark.root, pytest.mark.slow]

HMAC = HmacAuthentication(keys=(HmacKey(1, bytes(range(32))),), active_key=1)
OTHER_GROUP = ipaddress.IPv4Address("224.0.0.77")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


def instance(number: int, priority: int, **changes: object) -> VrrpInstance:
    address = ipaddress.ip_address(f"10.9.0.{100 + number}")
    plain = VrrpInstance(
        name=f"VI_{number}",
        interface="eth0",
        virtual_router_id=number,
        version=3,
        advert_interval=0.2,
        priority=priority,
        addresses=(VirtualAddress(address=address, prefix_length=24, device="eth0"),),
    )
    return msgspec.structs.replace(plain, **changes)


def several(priority: int) -> list[VrrpInstance]:
    """HMAC over IPv4 and IPv6, HMAC with PASS in version 2, AH, PASS, none; another group."""
    link_local = VirtualAddress(address=ipaddress.ip_address("fe80::100"), prefix_length=64, device="eth0")
    second = {"version": 2, "advert_interval": 1.0}
    return [
        instance(1, priority, hmac=HMAC),
        instance(2, priority, hmac=HMAC, addresses=(link_local,)),
        instance(3, priority, hmac=HMAC, authentication=PassAuthentication("one"), **second),
        instance(4, priority, authentication=AhAuthentication("two"), **second),
        instance(5, priority, authentication=PassAuthentication("three"), **second),
        instance(6, priority),
        instance(7, priority, multicast_group=OTHER_GROUP),
        instance(8, priority, unicast_source=None),
    ]


def test_what_is_authenticated_is_understood_and_what_is_not_changes_nothing(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, b = pair
    enemy = made.host("c", "10.9.0.3/24")
    names = [each.name for each in several(200)]
    master = Ours(a, made.directory, *several(200))
    until("all are master", lambda: all(master.state(name) == "MASTER" for name in names))
    capture = Capture(made, a)
    backup = Ours(b, made.directory, *several(100))
    until("all are backup", lambda: all(backup.state(name) == "BACKUP" for name in names))
    until("enough was said", lambda: len(capture.adverts()) > 40)
    assert {packet[16:20] for packet in capture.adverts()} == {GROUP.packed, OTHER_GROUP.packed}

    for _ in range(3):
        attack(enemy, capture)
    time.sleep(4.0)  # longer than any master-down interval
    for process, state in ((master, "MASTER"), (backup, "BACKUP")):
        assert {name: process.state(name) for name in names} == dict.fromkeys(names, state)
        assert len(process.heard) == len(names) * (2 if process is master else 1)
    said = backup.log.read_text()
    # Each kind once for each instance, with the words of the first packet of that kind.
    expected = {
        "a wrong HMAC": 2,
        "an advert without HMAC": 0,
        "its time is": 1,
        "a repeated sequence number": 0,
        "a wrong ICV": 1,
        "received an invalid password": 1,
        "received auth type 0, expecting 1": 1,
        "wrong checksum": 2,
        "TTL 254, but a multicast advert must have 255": 1,
        "type 2 is not an advertisement": 0,
    }
    assert {text: said.count(text) for text in expected} == expected
    assert master.stop() == 0
    until("all have taken over", lambda: all(backup.state(name) == "MASTER" for name in names))
    backup.stop()
    told = dict(re.findall(r"\((VI_\d)\) adverts: (.*)", backup.log.read_text()))
    counted = {name: dict(re.findall(r"(\w+) (\d+)", text)) for name, text in told.items()}
    assert (counted["VI_1"]["signature"], counted["VI_1"]["replay"]) == ("6", "6")
    assert (counted["VI_4"]["signature"], counted["VI_5"]["password"]) == ("3", "3")
    assert (counted["VI_6"]["malformed"], counted["VI_6"]["ttl"]) == ("12", "3")


def attack(enemy: Host, capture: Capture) -> None:
    """Packets of an attacker on the segment who knows everything but the keys."""
    now = time.time()
    with namespace.entered(enemy.namespace), NetlinkSocket() as netlink:
        link = links(netlink)["eth0"]
        plain, wrapped = AdvertSocket(link, None), AdvertSocket(link, None, protocol=51)
    mine = enemy.address
    other = msgspec.structs.replace(HMAC, keys=(HmacKey(1, bytes(32)),))
    bare = encode(build_advert(instance(1, 255), 255), mine, GROUP)
    signed = Signer(other).sign(bare, mine, GROUP, now)
    good = Signer(HMAC)  # known to nobody: an old packet of a router that was there an hour ago
    second = encode(build_advert(several(255)[2], 255), mine, GROUP)
    third = encode(build_advert(several(255)[4], 255), mine, GROUP)
    sixth = encode(build_advert(instance(6, 255), 255), mine, GROUP)
    heard = [packet for packet in capture.adverts() if packet[21] == 1][-1]
    plain.send(signed, mine, GROUP)
    plain.send(bare, mine, GROUP)
    plain.send(good.sign(bare, mine, GROUP, now - 3600), mine, GROUP)
    plain.send(Signer(other).sign(second, mine, GROUP, now), mine, GROUP)
    plain.send(third[:-1] + b"x", mine, GROUP)
    plain.send(_with_checksum(third[:-8] + b"wrong\0\0\0"), mine, GROUP)
    plain.send(
        encode(build_advert(instance(5, 255, version=2, advert_interval=1.0), 255), mine, GROUP), mine, GROUP
    )
    for payload in (sixth[:6] + b"\0\0" + sixth[8:], b"\x32" + sixth[1:], sixth[:5], sixth + bytes(7)):
        plain.send(payload, mine, GROUP)
    plain.send(sixth, mine, ipaddress.IPv4Address("10.9.0.2"))
    fourth = encode(build_advert(several(255)[3], 255), mine, GROUP)
    wrapped.send_packet(AhCodec(b"wrong").wrap(fourth, mine, GROUP, 255, now), GROUP)
    plain.close()
    wrapped.close()
    replay(enemy, heard)
    replay(enemy, _with_ttl(sixth, mine, 254))


def replay(enemy: Host, packet: bytes) -> None:
    """Send a packet as it was, with its sender's address."""
    with namespace.entered(enemy.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.sendto(bytes.fromhex("01005e000012020000000003") + b"\x08\x00" + packet, ("eth0", 0))
    raw.close()


def _with_checksum(advert: bytes) -> bytes:
    """Adverts of version 2."""
    blank = advert[:6] + b"\0\0" + advert[8:]
    return blank[:6] + internet_checksum(blank).to_bytes(2, "big") + blank[8:]


def _with_ttl(advert: bytes, source: ipaddress.IPv4Address, ttl: int) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(advert), 1, 0, ttl, 112, 0)
    head += source.packed + GROUP.packed
    return head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:] + advert
