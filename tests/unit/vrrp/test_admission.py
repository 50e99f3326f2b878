# SPDX-License-Identifier: Apache-2.0
"""Which packets an instance listens to."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from pointsman.model.vrrp import PassAuthentication, VirtualAddress, VrrpInstance
from pointsman.vrrp.admission import Drop, Oddity, Verdict, admit, build_advert
from pointsman.vrrp.wire import AH, GROUP, Datagram, encode

OWN = ipaddress.IPv4Address("10.9.0.2")
PEER = ipaddress.IPv4Address("10.9.0.1")
STRANGER = ipaddress.IPv4Address("10.9.0.77")


def vip(text: str) -> VirtualAddress:
    return VirtualAddress(address=ipaddress.ip_address(text), prefix_length=24, device="eth0")


UNICAST = VrrpInstance(
    name="VI_1",
    interface="eth0",
    virtual_router_id=51,
    addresses=(vip("10.9.0.100"), vip("10.9.0.101")),
    unicast_source=OWN,
    unicast_peers=(PEER,),
    authentication=PassAuthentication("generate-a-pasword"),
)
MULTICAST = msgspec.structs.replace(UNICAST, unicast_source=None, unicast_peers=())
BARE = msgspec.structs.replace(MULTICAST, authentication=None)
V3 = msgspec.structs.replace(BARE, version=3)


def sent_by(
    instance: VrrpInstance, *, source: ipaddress.IPv4Address = PEER, ttl: int = 255, **changes: object
) -> Datagram:
    """A packet as a router with this configuration sends it, with fields of the advert changed."""
    destination = OWN if instance.unicast_peers else GROUP
    advert = msgspec.structs.replace(build_advert(instance, 100), **changes)
    payload = encode(advert, source, destination)
    return Datagram(source=source, destination=destination, ttl=ttl, payload=payload)


def judge(instance: VrrpInstance, datagram: Datagram) -> Verdict:
    return admit(instance, OWN, datagram)


@pytest.mark.parametrize("instance", [UNICAST, MULTICAST, BARE, V3])
def test_the_peer_s_advert_is_accepted(instance: VrrpInstance) -> None:
    verdict = judge(instance, sent_by(instance))
    assert verdict.advert == build_advert(instance, 100)
    assert verdict == Verdict(advert=verdict.advert)


def test_ttl_counts_for_multicast_only() -> None:
    assert judge(MULTICAST, sent_by(MULTICAST, ttl=254)).drop is Drop.TTL
    assert judge(UNICAST, sent_by(UNICAST, ttl=3)).advert is not None


@pytest.mark.parametrize(
    ("instance", "datagram", "drop"),
    [
        (BARE, sent_by(BARE, virtual_router_id=52), Drop.VIRTUAL_ROUTER_ID),
        (BARE, sent_by(V3), Drop.VERSION),
        (V3, sent_by(BARE), Drop.VERSION),
        (BARE, sent_by(MULTICAST), Drop.AUTHENTICATION_TYPE),
        (MULTICAST, sent_by(BARE), Drop.AUTHENTICATION_TYPE),
        (MULTICAST, sent_by(MULTICAST, authentication_type=AH), Drop.AUTHENTICATION_TYPE),
        (MULTICAST, sent_by(MULTICAST, password=b"generatx"), Drop.PASSWORD),
        (MULTICAST, sent_by(MULTICAST, interval=200), Drop.INTERVAL),
        (MULTICAST, sent_by(UNICAST), Drop.MODE),
        (UNICAST, sent_by(MULTICAST), Drop.MODE),
        (UNICAST, sent_by(UNICAST, source=OWN), Drop.OWN_PACKET),
    ],
)
def test_what_is_dropped(instance: VrrpInstance, datagram: Datagram, drop: Drop) -> None:
    verdict = judge(instance, datagram)
    assert (verdict.drop, verdict.advert) == (drop, None)
    assert verdict.text.startswith(f"from {datagram.source}: ")


def test_garbage_is_dropped_with_its_reason() -> None:
    verdict = judge(BARE, Datagram(source=PEER, destination=GROUP, ttl=255, payload=b"\x21\x33"))
    assert verdict.drop is Drop.MALFORMED
    assert "too few" in verdict.text


def test_a_different_interval_is_no_matter_in_version_3() -> None:
    assert judge(V3, sent_by(V3, interval=10)).advert is not None


def test_a_different_list_of_addresses_makes_no_second_master() -> None:
    verdict = judge(BARE, sent_by(BARE, addresses=(ipaddress.ip_address("10.9.0.100"),)))
    assert verdict.advert is not None
    assert verdict.oddities == (Oddity.ADDRESS_LIST,)


def test_the_order_of_addresses_is_no_matter() -> None:
    turned = tuple(reversed(build_advert(BARE, 100).addresses))
    assert judge(BARE, sent_by(BARE, addresses=turned)).oddities == ()


def test_an_unknown_unicast_sender_is_listened_to_and_counted() -> None:
    verdict = judge(UNICAST, sent_by(UNICAST, source=STRANGER))
    assert verdict.advert is not None
    assert verdict.oddities == (Oddity.UNKNOWN_PEER,)


def test_more_addresses_than_an_advert_carries() -> None:
    many = tuple(vip(f"10.9.{index // 250}.{index % 250 + 1}") for index in range(300))
    crowded = msgspec.structs.replace(BARE, addresses=many)
    assert len(build_advert(crowded, 100).addresses) == 255
    assert judge(crowded, sent_by(crowded)).oddities == ()


def test_version_2_advertises_whole_seconds() -> None:
    half = msgspec.structs.replace(BARE, advert_interval=1.6)
    assert build_advert(half, 100).interval == 200
    assert build_advert(msgspec.structs.replace(half, version=3), 100).interval == 160
