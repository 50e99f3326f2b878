"""Unsolicited neighbour advertisements: IPv6's gratuitous ARP (RFC 4861 section 7.2.6)."""

from __future__ import annotations

import ipaddress
import struct

from pointsman.vrrp.wire import internet_checksum

ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ETH_P_IPV6 = 0x86DD
_ICMPV6 = 58
_ADVERTISEMENT = 136
_ROUTER, _OVERRIDE = 0x80, 0x20
_TARGET_LINK_LAYER_ADDRESS = 2


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
