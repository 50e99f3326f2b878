# SPDX-License-Identifier: Apache-2.0
"""AH as Debian's keepalived 2.2.7 sends it (captured), and adverts with an HMAC."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct

import msgspec
import pytest

from pointsman.model.address import Address
from pointsman.model.vrrp import AhAuthentication, HmacAuthentication, HmacKey, VirtualAddress, VrrpInstance
from pointsman.packets.keyed_hash import KeyedHash
from pointsman.vrrp.admission import Drop, Guard, Verdict, admit, build_advert
from pointsman.vrrp.ah import AhCodec, AuthenticationError
from pointsman.vrrp.hmac_auth import MOST_SENDERS, Signer
from pointsman.vrrp.wire import GROUP, GROUP6, Datagram, decode_ipv4, encode

MULTICAST = bytes.fromhex(
    "45c0004000010000ff33d0ad0a090001e0000012"
    "700400000a090001000000015d34a3caf3a55422598c5f0e"
    "2133ff010201d35c0a0900640000000000000000"
)
UNICAST = bytes.fromhex(
    "45c0004000010000ff33a6b50a0900010a090002"
    "700400000a09000100000001e9295337a92a0fb7bdbff9d2"
    "2133ff010201d35c0a0900640000000000000000"
)
A, B = ipaddress.IPv4Address("10.9.0.1"), ipaddress.IPv4Address("10.9.0.2")
SIX = ipaddress.IPv6Address("fe80::1")
WALL = 1_800_000_000.5
KEYS = (HmacKey(1, bytes(range(32))), HmacKey(7, bytes(range(64))))
HMAC = HmacAuthentication(keys=KEYS, active_key=1)


def instance(**changes: object) -> VrrpInstance:
    plain = VrrpInstance(
        name="A",
        interface="eth0",
        virtual_router_id=51,
        priority=255,
        addresses=(
            VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0"),
        ),
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(("packet", "target"), [(MULTICAST, GROUP), (UNICAST, B)])
def test_keepalived_is_understood_and_spoken(packet: bytes, target: Address) -> None:
    with_ah = instance(authentication=AhAuthentication("secret12"), unicast_peers=(A,) if target == B else ())
    verdict = admit(with_ah, B, decode_ipv4(packet, 51), Guard(with_ah), 100.0)
    assert verdict.advert == build_advert(with_ah, 255), verdict.text
    # Sequence and identification begin with 1, as keepalived's do, when the clock stands at 0.
    ours = AhCodec(b"secret12").wrap(encode(build_advert(with_ah, 255), A, target), A, target, 255, 0.0)
    assert ours[:10] + b"--" + ours[12:] == packet[:10] + b"--" + packet[12:]


@pytest.mark.parametrize("at", [4, 20, 24, 31, 32, 46, 52])
def test_every_byte_of_it_counts(at: int) -> None:
    changed = bytearray(MULTICAST)
    changed[at] ^= 1
    with_ah = instance(authentication=AhAuthentication("secret12"))
    verdict = admit(with_ah, B, decode_ipv4(bytes(changed), 51), Guard(with_ah), 100.0)
    assert verdict.drop is Drop.SIGNATURE
    other = instance(authentication=AhAuthentication("secret13"))
    assert admit(other, B, decode_ipv4(MULTICAST, 51), Guard(other), 100.0).drop is Drop.SIGNATURE


def test_an_old_packet_is_refused_until_the_sender_may_have_been_started_anew() -> None:
    wrapper = AhCodec(b"secret12")
    datagram = decode_ipv4(MULTICAST, 51)
    wrapper.open(datagram.header, datagram.payload, A, 100.0, 3.0)
    with pytest.raises(AuthenticationError, match="repeated sequence"):
        wrapper.open(datagram.header, datagram.payload, A, 102.9, 3.0)
    wrapper.open(datagram.header, datagram.payload, A, 103.0, 3.0)


def signed(
    source: Address, wall: float = WALL, settings: HmacAuthentication = HMAC, version: int = 3
) -> bytes:
    group = GROUP if source.version == 4 else GROUP6
    mine = instance(version=version, hmac=settings, addresses=())
    return Signer(settings).sign(encode(build_advert(mine, 100), source, group), source, group, wall)


def received(
    payload: bytes, source: Address, guard: Guard, mine: VrrpInstance, wall: float = WALL
) -> Verdict:
    group = GROUP if source.version == 4 else GROUP6
    datagram = Datagram(source=source, destination=group, ttl=255, payload=payload)
    return admit(mine, B, datagram, guard, 0.0, wall)


@pytest.mark.parametrize(("source", "version"), [(A, 2), (A, 3), (SIX, 3)])
def test_the_trailer_is_that_of_keepalived(source: Address, version: int) -> None:
    """Composed here by the description, field by field."""
    payload = signed(source, version=version)
    advert, trailer = payload[:-28], payload[-28:]
    assert trailer[:12] == struct.pack("!BBHIHH", 1, 1, 0, 1_800_000_000, 0x8000, 0)
    pseudo = bytes((source.version, version, 51, 0)) + source.packed.ljust(16, b"\0")
    message = pseudo + advert[:6] + b"\0\0" + advert[8:] + trailer[:12] + bytes(16)
    assert trailer[12:] == hmac.new(KEYS[0].key, message, hashlib.sha256).digest()[:16]
    mine = instance(version=version, hmac=HMAC, addresses=())
    assert received(payload, source, Guard(mine), mine).advert is not None


def test_what_is_replayed_forged_or_of_another_time_is_dropped() -> None:
    mine = instance(version=2, hmac=HMAC, addresses=())
    guard = Guard(mine)
    payload = signed(A, version=2)
    assert received(payload, A, guard, mine).advert is not None
    assert received(payload, A, guard, mine).drop is Drop.REPLAY
    assert received(signed(A, WALL - 100, version=2), A, guard, mine).drop is Drop.REPLAY
    assert received(signed(A, WALL + 100, version=2), A, guard, mine).drop is Drop.REPLAY
    assert received(signed(B, WALL + 1, version=2), A, guard, mine).drop is Drop.SIGNATURE, "another's"
    for at in (2, 9, 20, 35):
        changed = bytearray(signed(A, WALL + 2, version=2))
        changed[at] ^= 1
        assert received(bytes(changed), A, guard, mine).drop in (Drop.SIGNATURE, Drop.MALFORMED, Drop.REPLAY)
    assert received(payload[:-28], A, guard, mine).drop is Drop.SIGNATURE
    assert received(payload[:-1], A, guard, mine).drop is Drop.MALFORMED
    strange = HmacAuthentication(keys=(HmacKey(9, bytes(32)),), active_key=9)
    assert "key 9" in received(signed(A, WALL + 2, strange, 2), A, guard, mine).text
    assert received(signed(A, WALL + 2, version=2), A, guard, mine).advert is not None, (
        "none of these moved the sequence"
    )


@pytest.mark.parametrize("step", [3600, -86400])
def test_a_clock_that_steps_and_is_set_right_leaves_nobody_unheard(step: int) -> None:
    """By time, adverts are refused as long as the clocks differ. Without it, no step is noticed."""
    for by_time in (True, False):
        settings = msgspec.structs.replace(HMAC, by_time=by_time)
        mine = instance(version=3, hmac=settings, addresses=())
        signer, guard = Signer(settings), Guard(mine)
        bare = encode(build_advert(instance(version=3, addresses=()), 100), A, GROUP)
        for after, offset in ((0, 0), (1, step), (2, step), (3, 0), (4, 0)):
            payload = signer.sign(bare, A, GROUP, WALL + after + offset)
            heard = received(payload, A, guard, mine, WALL + after).advert is not None
            assert heard is (not by_time or not offset), (by_time, after)


def test_a_router_restarted_with_its_clock_behind_is_refused_with_a_remedy() -> None:
    """As keepalived does: a sequence that may go back could be replayed. A restart here forgets it."""
    settings = msgspec.structs.replace(HMAC, by_time=False)
    mine = instance(version=3, hmac=settings, addresses=())
    guard = Guard(mine)
    assert received(signed(A, WALL, settings), A, guard, mine).advert is not None
    restarted = signed(A, WALL - 3590, settings)
    refused = received(restarted, A, guard, mine)
    assert refused.drop is Drop.REPLAY
    assert "its sequence is 59 min older than its last one" in refused.text
    assert "set that clock right, or restart Pointsman here" in refused.text
    assert received(restarted, A, Guard(mine), mine).advert is not None
    by_time = instance(version=3, hmac=HMAC, addresses=())
    text = received(signed(A, WALL - 3590), A, Guard(by_time), by_time).text
    assert "59 min behind ours, expecting at most 5 s (time_window): synchronise both clocks" in text


def test_modes_let_a_pair_change_over() -> None:
    bare = encode(build_advert(instance(version=3, addresses=()), 100), A, GROUP)
    for mode, heard in (("enforce", False), ("permissive", True), ("receive-only", True)):
        mine = instance(version=3, hmac=msgspec.structs.replace(HMAC, mode=mode), addresses=())
        assert (received(bare, A, Guard(mine), mine).advert is not None) is heard
        assert received(signed(A), A, Guard(mine), mine).advert is not None
        forged = signed(A)[:-1] + b"x"
        assert received(forged, A, Guard(mine), mine).drop is Drop.SIGNATURE


def test_sequences_grow_whatever_the_clock_does_and_memory_is_bounded() -> None:
    signer = Signer(HMAC)
    bare = encode(build_advert(instance(version=3, addresses=()), 100), A, GROUP)
    mine = instance(version=3, hmac=HMAC, addresses=())
    guard = Guard(mine)
    for wall in (WALL, WALL, WALL - 2, WALL + 1):
        assert received(signer.sign(bare, A, GROUP, wall), A, guard, mine).advert is not None
    stepped = signer.sign(bare, A, GROUP, WALL - 60)
    assert received(stepped, A, guard, mine, WALL - 60).advert is not None, "both clocks were set back"
    for number in range(2 * MOST_SENDERS):
        source = ipaddress.IPv4Address(int(A) + number)
        received(signed(source), source, guard, mine)
    assert guard.verifier is not None
    assert len(guard.verifier._heard) == MOST_SENDERS


@pytest.mark.parametrize("source", [A, SIX])
def test_a_forgery_is_seen_without_a_trace_and_an_authentic_advert_passes(source: Address) -> None:
    mine = instance(version=3, hmac=HMAC, addresses=())
    guard, payload = Guard(mine), signed(source)
    cases = {
        payload: None,
        payload[:-1] + bytes([payload[-1] ^ 1]): Drop.SIGNATURE,
        payload[:-28]: Drop.SIGNATURE,
        payload[:-1]: Drop.MALFORMED,
        payload[:5]: Drop.MALFORMED,
    }
    for _ in range(2):
        for each, drop in cases.items():
            assert guard.find_forgery(b"", each, source.packed, 0.0, WALL) is drop
    assert received(payload, source, guard, mine).advert is not None
    assert guard.find_forgery(b"", payload, source.packed, 0.0, WALL) is Drop.REPLAY


def test_a_wrong_authentication_header_is_seen_without_a_trace() -> None:
    mine = instance(authentication=AhAuthentication("secret12"))
    guard = Guard(mine)
    header, payload = MULTICAST[:20], MULTICAST[20:]
    wrong = payload[:-1] + bytes([payload[-1] ^ 1])
    assert guard.find_forgery(header, wrong, A.packed, 0.0, WALL) is Drop.SIGNATURE
    assert guard.find_forgery(header, payload, A.packed, 0.0, WALL) is None
    assert admit(mine, B, decode_ipv4(MULTICAST, 51), guard, 0.0).advert is not None
    assert guard.find_forgery(header, payload, A.packed, 0.0, WALL) is Drop.SIGNATURE


@pytest.mark.parametrize(("algorithm", "size"), [("md5", 8), ("sha256", 64), ("sha256", 65)])
def test_a_key_that_is_hashed_once_makes_the_same_hmac(algorithm: str, size: int) -> None:
    key = bytes(range(size))
    assert KeyedHash(key, algorithm).digest(b"text") == hmac.digest(key, b"text", algorithm)
