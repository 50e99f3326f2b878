# SPDX-License-Identifier: Apache-2.0
"""Whatever comes from the network decodes or raises WireError; what is encoded comes back as it was."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.packets import arp, ethernet, icmp, ip, ndisc, tcp
from pointsman.packets.checksum import internet_checksum, pseudo_header
from pointsman.packets.errors import WireError

MACS, ADDRESSES, ADDRESSES_6 = (st.binary(min_size=size, max_size=size) for size in (6, 4, 16))
BYTES, SHORTS, WORDS = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
DATA = st.binary(max_size=64)

DECODERS: dict[str, Callable[[bytes], object]] = {
    "ethernet": ethernet.decode,
    "ipv4": ip.decode_ipv4,
    "ipv6": ip.decode_ipv6,
    "payload": lambda data: ip.payload(ip.decode_ipv4(data), data),
    "tcp": tcp.decode,
    "echo": lambda data: icmp.decode_reply(4, data),
    "echo of version 6": lambda data: icmp.decode_reply(6, data),
    "arp": arp.decode,
    "arp reply": arp.decode_reply,
    "advertisement": ndisc.decode_advertisement,
}
EXAMPLES = [
    ip.encode_ipv4(bytes(4), bytes(4), 6, 3) + b"abc",
    ip.encode_ipv6(bytes(16), bytes(16), 6, 3) + b"abc",
    arp.encode(arp.Arp(arp.REPLY, bytes(6), bytes(4), bytes(6), bytes(4))),
    ndisc.neighbour_advertisement(bytes(6), bytes(16), True),
    icmp.encode_request(6, 1, 2, b"abc"),
]


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@given(st.binary(max_size=96), st.sampled_from(EXAMPLES), st.integers(0, 96))
def test_any_bytes_decode_or_raise_a_wire_error(
    decode: Callable[[bytes], object], noise: bytes, example: bytes, at: int
) -> None:
    for data in (noise, example[:at], example[:at] + noise + example[at + len(noise) :]):
        with contextlib.suppress(WireError):
            decode(data)


@given(st.binary(max_size=64))
def test_the_checksum_is_the_sum_with_end_around_carry(data: bytes) -> None:
    even = data + b"\0" * (len(data) % 2)
    total = sum(number for (number,) in struct.iter_unpack("!H", even))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert internet_checksum(data) == total ^ 0xFFFF


@given(st.binary(min_size=2, max_size=64), ADDRESSES_6, ADDRESSES_6, BYTES)
def test_data_with_its_checksum_sums_up_to_nothing(
    data: bytes, source: bytes, destination: bytes, protocol: int
) -> None:
    pseudo = pseudo_header(source, destination, protocol, len(data))
    bare = b"\0\0" + data
    right = internet_checksum(pseudo + bare).to_bytes(2, "big") + data
    assert internet_checksum(pseudo + right) in (0, 0xFFFF)


@given(MACS, MACS, SHORTS, DATA)
def test_ethernet(destination: bytes, source: bytes, kind: int, data: bytes) -> None:
    assert ethernet.decode(ethernet.encode(destination, source, kind) + data) == (destination, source, kind)


@given(ADDRESSES, ADDRESSES, BYTES, DATA, BYTES, SHORTS, DATA)
def test_ipv4(
    source: bytes, destination: bytes, protocol: int, data: bytes, ttl: int, fragment: int, before: bytes
) -> None:
    header = ip.encode_ipv4(source, destination, protocol, len(data), ttl=ttl, fragment=fragment)
    assert internet_checksum(header) == 0
    found = ip.decode_ipv4(before + header + data, len(before))
    assert found == ip.IpHeader(source, destination, protocol, ttl, len(header), len(data), fragment)
    assert ip.payload(found, before + header + data + before, len(before)) == data


@given(ADDRESSES_6, ADDRESSES_6, BYTES, DATA, BYTES, DATA)
def test_ipv6(source: bytes, destination: bytes, protocol: int, data: bytes, ttl: int, before: bytes) -> None:
    header = ip.encode_ipv6(source, destination, protocol, len(data), ttl=ttl)
    found = ip.decode_ipv6(before + header + data, len(before))
    assert found == ip.IpHeader(source, destination, protocol, ttl, len(header), len(data))
    assert ip.payload(found, before + header + data + before, len(before)) == data


@given(
    ADDRESSES,
    ADDRESSES,
    st.builds(tcp.Segment, SHORTS, SHORTS, WORDS, WORDS, BYTES),
    SHORTS,
    st.integers(0, 10).map(lambda words: b"\x01" * 4 * words),
    DATA,
)
def test_tcp(
    source: bytes, destination: bytes, segment: tcp.Segment, window: int, options: bytes, data: bytes
) -> None:
    whole = tcp.encode(source, destination, segment, window=window, options=options, data=data)
    found = tcp.decode(whole)
    assert found == segment._replace(size=tcp.HEADER_SIZE + len(options))
    assert whole[found.size :] == data
    assert internet_checksum(pseudo_header(source, destination, ip.TCP, len(whole)) + whole) == 0


@given(st.builds(arp.Arp, SHORTS, MACS, ADDRESSES, MACS, ADDRESSES))
def test_arp(packet: arp.Arp) -> None:
    assert arp.decode(arp.encode(packet)) == packet


@given(MACS, ADDRESSES_6, st.booleans())
def test_advertisements(mac: bytes, address: bytes, router: bool) -> None:
    frame = ndisc.neighbour_advertisement(mac, address, router)
    assert ndisc.decode_advertisement(frame) == ndisc.Advertisement(address, mac)


@given(SHORTS, SHORTS, DATA)
def test_echoes(identifier: int, sequence: int, data: bytes) -> None:
    request = icmp.encode_request(4, identifier, sequence, data)
    assert internet_checksum(request) == 0
    reply = bytes([icmp.ECHO_REPLY]) + request[1:]
    assert icmp.decode_reply(4, reply) == icmp.Echo(icmp.ECHO_REPLY, identifier, sequence, data)
