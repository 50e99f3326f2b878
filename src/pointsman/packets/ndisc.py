# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery for IPv6 (RFC 4861), as whole frames: who has an address, and telling it to all."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pointsman.packets import ethernet, ip
from pointsman.packets.checksum import internet_checksum, pseudo_header
from pointsman.packets.errors import WireError

SOLICITATION, ADVERTISEMENT = 135, 136
"""Types of ICMPv6."""
ICMP_AT = ethernet.HEADER_SIZE + ip.IPV6_SIZE
"""Offset of the ICMPv6 header in a frame."""
ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")

_HOP_LIMIT = 255
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS = 1, 2
_MESSAGE = struct.Struct("!BBHB3x16s")
"""Type, code, checksum, flags (0 in a solicitation), target."""
_OPTION = struct.Struct("!BB6s")
_IN_EIGHTS = 1
"""An option with a MAC address is 8 bytes long."""


class Advertisement(NamedTuple):
    """A neighbour advertisement."""

    target: bytes
    mac: bytes


def neighbour_advertisement(mac: bytes, address: bytes, router: bool) -> bytes:
    """Return an advertisement as keepalived sends it: from the address itself to all nodes, override set.

    `router`: the host forwards IPv6, so it stays in its neighbours' lists of routers.
    """
    flags = _OVERRIDE | (_ROUTER if router else 0)
    option = _OPTION.pack(_TARGET_LINK_LAYER_ADDRESS, _IN_EIGHTS, mac)
    return _frame(mac, address, ALL_NODES, _message(ADVERTISEMENT, flags, address) + option)


def neighbour_solicitation(mac: bytes, source: bytes, target: bytes) -> bytes:
    """Return a question to the target's solicited-node group (section 4.3).

    It bears our MAC address: nobody answers a multicast solicitation without it.
    """
    option = _OPTION.pack(_SOURCE_LINK_LAYER_ADDRESS, _IN_EIGHTS, mac)
    return _frame(mac, source, solicited_node(target), _message(SOLICITATION, 0, target) + option)


def solicited_node(address: bytes) -> bytes:
    """Return the group in which the holder of an address hears solicitations (RFC 4291 section 2.7.1)."""
    return b"\xff\x02" + bytes(9) + b"\x01\xff" + address[-3:]


def decode_advertisement(frame: bytes) -> Advertisement:
    """Return the neighbour advertisement in a frame. Raises WireError.

    The MAC address is that of its first option, or the frame's source where it has none (section 7.2.4).
    """
    head = ethernet.decode(frame)
    if head.ether_type != ethernet.ETH_P_IPV6:
        raise WireError(f"EtherType {head.ether_type:#06x} is not IPv6")
    packet = ip.decode_ipv6(frame, ethernet.HEADER_SIZE)
    if packet.protocol != ip.ICMPV6 or len(frame) < ICMP_AT + _MESSAGE.size:
        raise WireError("not an advertisement")
    kind, _, _, _, target = _MESSAGE.unpack_from(frame, ICMP_AT)
    if kind != ADVERTISEMENT:
        raise WireError(f"ICMPv6 type {kind} is not an advertisement")
    mac = head.source
    if len(frame) >= ICMP_AT + _MESSAGE.size + _OPTION.size:
        option, eighths, said = _OPTION.unpack_from(frame, ICMP_AT + _MESSAGE.size)
        if (option, eighths) == (_TARGET_LINK_LAYER_ADDRESS, _IN_EIGHTS):
            mac = said
    return Advertisement(target, mac)


def decode_answer(message: bytes) -> Advertisement:
    """Return a solicited neighbour advertisement, given as an ICMPv6 message. Raises WireError.

    An answer to a multicast solicitation has the MAC address in an option (section 7.2.4).
    """
    if len(message) < _MESSAGE.size + _OPTION.size:
        raise WireError("too short for an answer with a MAC address")
    kind, _, _, flags, target = _MESSAGE.unpack_from(message)
    option, eighths, mac = _OPTION.unpack_from(message, _MESSAGE.size)
    if kind != ADVERTISEMENT or not flags & _SOLICITED:
        raise WireError("not an answer to a solicitation")
    if (option, eighths) != (_TARGET_LINK_LAYER_ADDRESS, _IN_EIGHTS):
        raise WireError("an answer without a MAC address")
    return Advertisement(target, mac)


def _message(kind: int, flags: int, target: bytes) -> bytes:
    return _MESSAGE.pack(kind, 0, 0, flags, target)


def _frame(mac: bytes, source: bytes, group: bytes, message: bytes) -> bytes:
    """Return a frame to a multicast group with the message and its checksum."""
    total = internet_checksum(pseudo_header(source, group, ip.ICMPV6, len(message)) + message)
    whole = message[:2] + total.to_bytes(2, "big") + message[4:]
    header = ip.encode_ipv6(source, group, ip.ICMPV6, len(whole), ttl=_HOP_LIMIT)
    return ethernet.encode(ethernet.multicast_mac(group), mac, ethernet.ETH_P_IPV6) + header + whole
