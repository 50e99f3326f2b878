"""Neighbour discovery (RFC 4861): advertisements to all, IPv6's gratuitous ARP; and who has an address."""

from __future__ import annotations

import ipaddress
import struct

from pointsman.model.checksum import internet_checksum

ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ETH_P_IPV6 = 0x86DD
_ICMPV6 = 58
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ROUTER, _OVERRIDE = 0x80, 0x20
_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS = 1, 2


def neighbour_advertisement(mac: bytes, address: ipaddress.IPv6Address, router: bool) -> bytes:
    """The frame as keepalived sends it: from the address itself to all nodes, override set, with our MAC.

    `router`: the host forwards IPv6, so it stays in its neighbours' lists of routers.
    """
    flags = _OVERRIDE | (_ROUTER if router else 0)
    body = struct.pack("!B3x16sBB6s", flags, address.packed, _TARGET_LINK_LAYER_ADDRESS, 1, mac)
    length = 4 + len(body)
    pseudo = struct.pack("!16s16sIxxxB", address.packed, ALL_NODES.packed, length, _ICMPV6)
    checksum = internet_checksum(pseudo + struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + body)
    packet = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, 255) + address.packed + ALL_NODES.packed
    frame = _ALL_NODES_MAC + mac + struct.pack("!H", _ETH_P_IPV6) + packet
    return frame + struct.pack("!BBH", _ADVERTISEMENT, 0, checksum) + body


def neighbour_solicitation(mac: bytes, source: ipaddress.IPv6Address, target: ipaddress.IPv6Address) -> bytes:
    """The frame that asks the target's solicited-node group who has it (RFC 4861 section 4.3), with our MAC:
    without it nobody answers a multicast solicitation."""
    low = target.packed[-3:]
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + low
    body = bytes(4) + target.packed + struct.pack("!BB6s", _SOURCE_LINK_LAYER_ADDRESS, 1, mac)
    length = 4 + len(body)
    pseudo = struct.pack("!16s16sIxxxB", source.packed, group, length, _ICMPV6)
    checksum = internet_checksum(pseudo + struct.pack("!BBH", _SOLICITATION, 0, 0) + body)
    packet = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, 255) + source.packed + group
    frame = b"\x33\x33\xff" + low + mac + struct.pack("!H", _ETH_P_IPV6) + packet
    return frame + struct.pack("!BBH", _SOLICITATION, 0, checksum) + body


def advertised(frame: bytes) -> tuple[ipaddress.IPv6Address, str] | None:
    """Target and MAC address of a neighbour advertisement; None for every other frame.

    The MAC is that of its option, or the frame's source where it has none (RFC 4861 section 7.2.4).
    """
    if len(frame) < 78 or frame[12:14] != b"\x86\xdd" or (frame[20], frame[54]) != (_ICMPV6, _ADVERTISEMENT):
        return None
    mac = frame[6:12]
    if len(frame) >= 86 and (frame[78], frame[79]) == (_TARGET_LINK_LAYER_ADDRESS, 1):
        mac = frame[80:86]
    return ipaddress.IPv6Address(frame[62:78]), mac.hex(":")
