"""TCP segments between us and a VIP at one real server's MAC address, as whole frames."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pointsman.model.address import Address
from pointsman.packets import ethernet, ip, tcp
from pointsman.packets.classic_bpf import Program
from pointsman.packets.errors import WireError

HOPS = 1
"""TTL, hop limit: a real server that would forward the packet instead of taking it drops it."""
WINDOW = 65535
"""Bytes that may be on their way to us."""
LARGEST = 65535 + ethernet.HEADER_SIZE
"""Bytes of a frame; the kernel may hand over several packets as a long one."""


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a connection, on the wire and in IP."""

    our_mac: bytes
    their_mac: bytes
    source: Address
    source_port: int
    virtual: Address
    """Of the same family as `source`."""
    virtual_port: int

    @property
    def ether_type(self) -> int:
        return ip.ether_type(self.virtual.packed)


class Segment(NamedTuple):
    """What is in a frame from the VIP to us."""

    sender: bytes
    """The MAC address it comes from."""
    flags: int
    sequence: int
    acknowledged: int
    data: bytes


def written(
    ends: Ends, flags: int, sequence: int, acknowledged: int = 0, data: bytes = b"", options: bytes = b""
) -> bytes:
    """A frame with a segment of ours; `options` are of a multiple of 4 bytes."""
    return tcp.encode_frame(
        tcp.Ends(ends.our_mac, ends.their_mac, ends.source.packed, ends.virtual.packed),
        tcp.Segment(ends.source_port, ends.virtual_port, sequence, acknowledged, flags),
        ttl=HOPS,
        window=WINDOW,
        options=options,
        data=data,
    )


def read(ends: Ends, frame: bytes) -> Segment | None:
    """The segment in a frame of this connection; None in any other, whatever is in it."""
    try:
        return _decode(ends, frame)
    except WireError:
        return None


def _decode(ends: Ends, frame: bytes) -> Segment | None:
    """None: it is another connection's. Raises WireError."""
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
    """Classic BPF that lets only TCP segments from the VIP to our port through."""
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
    program.take(LARGEST)
    program.label("drop")
    program.take(0)
    return program.assembled()
