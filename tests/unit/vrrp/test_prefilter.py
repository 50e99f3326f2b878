# SPDX-License-Identifier: Apache-2.0
"""The first look at packets agrees with the thorough one, and closer looks are counted out."""

from __future__ import annotations

import ipaddress
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.model.vrrp import PassAuthentication, TtlLimits, VirtualAddress, VrrpInstance
from pointsman.packets.checksum import internet_checksum
from pointsman.packets.errors import WireError
from pointsman.vrrp.admission import Drop, admit, build_advert
from pointsman.vrrp.prefilter import SettingsFilter, TokenBucket, cheap_reject, parse_router_id
from pointsman.vrrp.wire import GROUP, ChecksumForm, decode_ipv4, encode

SOURCE = ipaddress.IPv4Address("10.9.0.2")
OWN = ipaddress.IPv4Address("10.9.0.1")


def instance(version: int, addresses: int = 1) -> VrrpInstance:
    return VrrpInstance(
        name="VI_1",
        interface="eth0",
        virtual_router_id=7,
        version=version,
        authentication=PassAuthentication("secret") if version == 2 else None,
        addresses=tuple(
            VirtualAddress(address=OWN + number, prefix_length=24, device="eth0")
            for number in range(addresses)
        ),
    )


def packet(payload: bytes, ttl: int = 255, destination: ipaddress.IPv4Address = GROUP) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), 0, 0, ttl, 112, 0)
    head += SOURCE.packed + destination.packed
    return head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:] + payload


@given(
    version=st.sampled_from([2, 3]),
    addresses=st.integers(0, 255),
    form=st.sampled_from(ChecksumForm),
    padding=st.integers(0, 46),
    unicast=st.booleans(),
)
def test_what_is_right_passes(
    version: int, addresses: int, form: ChecksumForm, padding: int, unicast: bool
) -> None:
    destination = OWN if unicast else GROUP
    advert = build_advert(instance(version, addresses), 100, form)
    whole = packet(encode(advert, SOURCE, destination), 64 if unicast else 255, destination)
    assert parse_router_id(whole) == 7
    assert cheap_reject(whole + bytes(padding)) is None
    here = msgspec.structs.replace(instance(version), unicast_peers=(SOURCE,) if unicast else ())
    assert SettingsFilter(here).reject(whole + bytes(padding)) is None


@given(
    version=st.sampled_from([2, 3]),
    addresses=st.integers(0, 3),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, 60),
    more=st.binary(max_size=8),
)
def test_what_is_refused_here_is_refused_there(
    version: int, addresses: int, changes: list[tuple[int, int]], cut: int, more: bytes
) -> None:
    """Whatever happens to a packet on its way."""
    broken = bytearray(packet(encode(build_advert(instance(version, addresses), 100), SOURCE, GROUP)))
    for at, value in changes:
        if at < len(broken):
            broken[at] = value
    data = bytes(broken[: len(broken) - cut] + more) if cut < len(broken) else more
    here = SettingsFilter(instance(version))
    if parse_router_id(data) is None or (cheap_reject(data) is None and here.reject(data) is None):
        return
    try:
        datagram = decode_ipv4(data)
    except WireError:
        return
    assert admit(instance(version, addresses), OWN, datagram).drop is not None


@pytest.mark.parametrize(
    ("changes", "drop"),
    [
        ({"version": 3, "authentication": None}, Drop.VERSION),
        ({"authentication": None}, Drop.AUTHENTICATION_TYPE),
        ({"authentication": PassAuthentication("another")}, Drop.PASSWORD),
        ({"advert_interval": 2.0}, Drop.INTERVAL),
        ({"unicast_peers": (OWN,)}, Drop.MODE),
    ],
)
def test_other_settings_are_refused_by_the_same_reason(changes: dict[str, object], drop: Drop) -> None:
    other = msgspec.structs.replace(instance(2), **changes)
    destination = OWN if other.unicast_peers else GROUP
    data = packet(encode(build_advert(other, 100), SOURCE, destination), destination=destination)
    assert SettingsFilter(instance(2)).reject(data) is drop
    assert admit(instance(2), OWN, decode_ipv4(data)).drop is drop


@pytest.mark.parametrize(("ttl", "drop"), [(253, Drop.TTL), (254, None)])
def test_limits_of_a_peer_s_ttl_are_seen_in_the_bytes(ttl: int, drop: Drop | None) -> None:
    limits = (TtlLimits(peer=SOURCE, low=254),)
    here = msgspec.structs.replace(instance(3), unicast_peers=(SOURCE,), ttl_limits=limits)
    data = packet(encode(build_advert(here, 100), SOURCE, OWN), ttl, OWN)
    assert SettingsFilter(here).reject(data) is drop
    assert admit(here, OWN, decode_ipv4(data)).drop is drop


def test_a_trailer_is_for_signed_adverts_only() -> None:
    good = encode(build_advert(instance(3), 100), SOURCE, GROUP)
    assert cheap_reject(packet(good + bytes(28)), may_be_signed=True) is None
    assert cheap_reject(packet(good + bytes(28))) is Drop.MALFORMED
    assert cheap_reject(packet(good + bytes(27)), may_be_signed=True) is Drop.MALFORMED


def test_each_kind_has_its_name() -> None:
    good = encode(build_advert(instance(3), 100), SOURCE, GROUP)
    assert cheap_reject(packet(good, 254)) is Drop.TTL
    assert cheap_reject(packet(good[:-1] + bytes([good[-1] ^ 1]))) is Drop.MALFORMED
    assert cheap_reject(packet(b"\x32" + good[1:])) is Drop.MALFORMED
    assert cheap_reject(packet(good)[:-1]) is Drop.MALFORMED
    assert parse_router_id(packet(good)[:27]) is None


def test_a_budget_is_a_second_s_worth_and_fills_again() -> None:
    budget = TokenBucket(10)
    assert [budget.spend(5.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [budget.spend(5.25) for _ in range(3)] == [True, True, False]
    assert sum(budget.spend(100.0) for _ in range(50)) == 10
