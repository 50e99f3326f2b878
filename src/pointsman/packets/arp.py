# SPDX-License-Identifier: Apache-2.0
"""ARP over Ethernet for IPv4 (RFC 826), as whole frames; probes and announcements (RFC 5227)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pointsman.packets import ethernet
from pointsman.packets.errors import WireError

REQUEST, REPLY = 1, 2
FRAME_SIZE = 42
OPERATION_AT = 20
"""Offset in a frame, for programs of classic BPF."""

_ETHERNET, _IPV4 = 1, 0x0800
_KIND = (_ETHERNET, _IPV4, 6, 4)
_PACKET = struct.Struct("!HHBBH6s4s6s4s")
_NOBODY, _UNKNOWN = bytes(4), bytes(6)


class Arp(NamedTuple):
    """An ARP packet."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes


def encode(packet: Arp, destination: bytes = ethernet.BROADCAST) -> bytes:
    """Return a frame from the packet's sender."""
    head = ethernet.encode(destination, packet.sender_mac, ethernet.ETH_P_ARP)
    return head + _PACKET.pack(*_KIND, *packet)


def gratuitous_arp(mac: bytes, address: bytes) -> bytes:
    """Return an announcement as keepalived sends it: a broadcast request, from and for `address`."""
    return encode(Arp(REQUEST, mac, address, ethernet.BROADCAST, address))


def arp_probe(mac: bytes, address: bytes) -> bytes:
    """Return a question for `address` that changes no neighbour table: its sender's address is 0.0.0.0."""
    return encode(Arp(REQUEST, mac, _NOBODY, _UNKNOWN, address))


def decode(frame: bytes) -> Arp:
    """Return the ARP packet in a frame; padding is ignored. Raises WireError."""
    if len(frame) < FRAME_SIZE:
        raise WireError(f"{len(frame)} bytes are too few for ARP")
    fields = _PACKET.unpack_from(frame, ethernet.HEADER_SIZE)
    if ethernet.decode(frame).ether_type != ethernet.ETH_P_ARP or fields[: len(_KIND)] != _KIND:
        raise WireError("not ARP over Ethernet for IPv4")
    return Arp._make(fields[len(_KIND) :])


def decode_reply(frame: bytes) -> Arp:
    """Return the ARP reply in a frame. Raises WireError, also for a request."""
    packet = decode(frame)
    if packet.operation != REPLY:
        raise WireError(f"ARP operation {packet.operation} is no reply")
    return packet
