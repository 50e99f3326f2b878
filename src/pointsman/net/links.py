"""Network interfaces: index, name, MAC address, up or down."""

from __future__ import annotations

import struct
import sys

import msgspec

from pointsman.net.netlink import Message, NetlinkSocket, attributes

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU = 1, 3, 4
_INFO = struct.Struct("=BxHiII")


class Link(msgspec.Struct, frozen=True):
    """An interface as the kernel reports it."""

    index: int
    name: str
    mac: bytes
    """6 bytes on Ethernet; empty on links without addresses."""
    up: bool
    """Switched on by the administrator."""
    running: bool
    """Switched on, and the carrier is there."""
    mtu: int = 0
    """Bytes of the largest IP packet; 0: not reported."""


def parse_link(message: Message) -> Link | None:
    """The link of an RTM_NEWLINK or RTM_DELLINK; None for any other message.

    A deleted link is reported as neither up nor running.
    """
    if message.type not in (RTM_NEWLINK, RTM_DELLINK) or len(message.payload) < _INFO.size:
        return None
    family, _, index, flags, _ = _INFO.unpack_from(message.payload)
    if family != 0:  # bridge ports are reported a second time, in the bridge's family
        return None
    found = attributes(message.payload, _INFO.size)
    here = message.type == RTM_NEWLINK
    return Link(
        index=index,
        name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        mac=found.get(_IFLA_ADDRESS, b""),
        up=here and bool(flags & _IFF_UP),
        running=here and bool(flags & _IFF_UP and flags & _IFF_RUNNING),
        mtu=int.from_bytes(found.get(_IFLA_MTU, b""), sys.byteorder),
    )


def links(netlink: NetlinkSocket) -> dict[str, Link]:
    """Every interface of this network namespace, by name. Raises OSError."""
    messages = netlink.dump(RTM_GETLINK, _INFO.pack(0, 0, 0, 0, 0))
    return {link.name: link for link in map(parse_link, messages) if link is not None}
