# SPDX-License-Identifier: Apache-2.0
"""Encode and decode TCP segments between this host and a VIP at one real server's MAC address, as frames."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pointsman.model.address import Address
from pointsman.packets import ethernet, ip, tcp
from pointsman.packets.classic_bpf import Program
from pointsman.packets.errors import WireError

HOPS = 1
"""TTL or hop limit. A real server that would forward the packet drops it."""
WINDOW = 65535
"""Bytes that may be on their way to us."""
LARGEST = 65535 + ethernet.HEADER_SIZE
"""Bytes of a frame; the kernel may hand over several packets as a long one."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a connection: MAC addresses, IP addresses and ports."""

    our_mac: bytes
    their_mac: bytes
    source: Address
    source_port: int
    virtual: Address
    """Same family as `source`."""
    virtual_port: int

    @property
    def ether_type(self) -> int:
        return ip.ether_type(self.virtual.packed)


class Segment(NamedTuple):
    """Content of a frame from the VIP to this host."""

    sender: bytes
    """MAC address of the sender."""
    flags: int
    sequence: int
    acknowledged: int
    data: bytes


def build_frame(
    ends: Ends, flags: int, sequence: int, acknowledged: int = 0, data: bytes = b"", options: bytes = b""
) -> bytes:
    """Return a frame with a segment of ours. `options` have a length that is a multiple of 4."""
    return tcp.encode_frame(
        tcp.Ends(ends.our_mac, ends.their_mac, ends.source.packed, ends.virtual.packed),
        tcp.Segment(ends.source_port, ends.virtual_port, sequence, acknowledged, flags),
        ttl=HOPS,
        window=WINDOW,
        options=options,
        data=data,
    )


def parse_frame(ends: Ends, frame: bytes) -> Segment | None:
    """Return the segment in a frame of this connection. None: the frame is any other."""
    try:
        return _decode(ends, frame)
    except WireError:
        return None


def _decode(ends: Ends, frame: bytes) -> Segment | None:
    """Return the segment, or None if it is of another connection. Raises WireError."""
    head = ethernet.decode(frame)
    packet = ip.decode(head.ether_type, frame, ethernet.HEADER_SIZE)
    addresses = packet.source, packet.destination
    if packet.protocol != ip.TCP or addresses != (ends.virtual.packed, ends.source.packed):
        return None
    payload = ip.payload(packet, frame, ethernet.HEADER_SIZE)
    found = tcp.decode(payload)
    if packet.fragment & ip.IS_FRAGMENT or found.size > len(payload):
        return None
    if (found.source_port, found.destination_port) != (ends.virtual_port, ends.source_port):
        return None
    return Segment(head.source, found.flags, found.sequence, found.acknowledged, payload[found.size :])


def filter_program(ends: Ends) -> bytes:
    """Return a classic BPF filter for TCP segments from the VIP to our port."""
    start, program = ethernet.HEADER_SIZE, Program()
    program.load_half(ethernet.TYPE_AT)
    program.unless_equal(ends.ether_type, "drop")
    program.load_byte(start + ip.protocol_at(ends.ether_type))
    program.unless_equal(ip.TCP, "drop")
    program.unless_words(start + ip.source_at(ends.ether_type), ends.virtual.packed, "drop")
    if ends.ether_type == ethernet.ETH_P_IP:
        program.load_ipv4_size(start)
        program.load_half_indexed(start + tcp.DESTINATION_PORT_AT)
    else:
        program.load_half(start + ip.IPV6_SIZE + tcp.DESTINATION_PORT_AT)
    program.unless_equal(ends.source_port, "drop")
    program.accept(LARGEST)
    program.label("drop")
    program.accept(0)
    return program.assemble()
